// In place of parts of Node that a library names and a page does not have. Nothing here is called.

export class EventEmitter {}

export default {};
