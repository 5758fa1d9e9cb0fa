// Fields by which the stream is filtered, with what there is as suggestions.

import { type ReactElement, type RefObject, useId, useState } from "react";
import { type Filter, NO_FILTER } from "../feed/filter.js";
import type { Store } from "../feed/store.js";

/** Names that are suggested. */
const SUGGESTIONS_MAX = 50;

const FIELDS = [
  { name: "channel", title: "Channel" },
  { name: "type", title: "Type" },
  { name: "actor", title: "Actor" },
  { name: "entity", title: "Entity" },
] as const;

export function FilterBar(props: {
  store: Store;
  filter: Filter;
  onChange: (filter: Filter) => void;
  search: RefObject<HTMLInputElement | null>;
}): ReactElement {
  const { store, filter } = props;
  const id = useId();
  const [channels, setChannels] = useState<readonly string[]>([]);
  const change = (part: Partial<Filter>): void => props.onChange({ ...filter, ...part });
  const isUsed = Object.values(filter).some(Boolean);
  return (
    <search className="filters">
      <input
        ref={props.search}
        type="search"
        aria-label="Search all events"
        placeholder="Search all events   /"
        aria-keyshortcuts="/"
        value={filter.text}
        onChange={(event) => change({ text: event.target.value })}
      />
      {FIELDS.map(({ name, title }) => (
        <input
          key={name}
          type="text"
          className="narrow"
          aria-label={`Filter by ${name}`}
          placeholder={title}
          value={filter[name]}
          list={name === "channel" ? id : undefined}
          onFocus={() => name === "channel" && setChannels(store.tally.top(SUGGESTIONS_MAX).map((one) => one.name))}
          onChange={(event) => change({ [name]: event.target.value })}
          autoComplete="off"
          spellCheck={false}
        />
      ))}
      <datalist id={id}>
        {channels.map((channel) => (
          <option key={channel} value={channel} />
        ))}
      </datalist>
      {isUsed && (
        <button type="button" className="quiet" onClick={() => change(NO_FILTER)}>
          Show all
        </button>
      )}
    </search>
  );
}
