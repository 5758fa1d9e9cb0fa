// The last so many of a sequence, by their numbers.

/** Keeps the last `capacity` of what is pushed. What is pushed has the numbers 0, 1, 2 … */
export class Ring<Item> {
  readonly capacity: number;
  readonly #slots: (Item | undefined)[];
  #start = 0;
  #end = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#slots = new Array(capacity);
  }

  /** The number of the oldest that is kept; `end` if none is. */
  get start(): number {
    return this.#start;
  }

  /** The number that the next one gets. */
  get end(): number {
    return this.#end;
  }

  get length(): number {
    return this.#end - this.#start;
  }

  push(item: Item): void {
    this.#slots[this.#end % this.capacity] = item;
    this.#end += 1;
    if (this.length > this.capacity) this.#start += 1;
  }

  /** Undefined for a number that is not kept any more, or not there yet. */
  get(number: number): Item | undefined {
    return number >= this.#start && number < this.#end ? this.#slots[number % this.capacity] : undefined;
  }

  /** Forgets all. Numbers go on. */
  clear(): void {
    this.#slots.fill(undefined);
    this.#start = this.#end;
  }
}
