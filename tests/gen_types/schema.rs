//! From a schema file.

use std::fmt::Write as _;
use std::fs;

use super::support::temp_dir;
use super::typescript::{assert_formatted, compile, project};
use super::{generate, generated, golden};

/// What a user writes with the types of golden/feed.ts. Every `@ts-expect-error` is an error, or it is one itself.
const NARROWS: &str = r#"
import type { Client, FeedEvent } from "@rowcast/client";
import type { Channels, Events, Task } from "./feed.js";

declare const client: Client<Events, Channels>;

client.subscribe("tasks", (event) => {
  const kind: "task.created" | "task.updated" | "task.deleted" | "task.archived" = event.type;
  if (event.type === "task.deleted") {
    const id: string = event.payload.id;
    // @ts-expect-error a deleted task has no title
    event.payload.title;
    return id + kind;
  }
  if (event.type === "task.archived") {
    const yes: true = event.payload;
    return yes;
  }
  const task: Task = event.payload;
  const done: boolean | undefined = task.done;
  const deep: Task | undefined = task.subtasks[0]?.subtasks[0];
  // @ts-expect-error there is no message on this channel
  event.type === "message.created";
  return [done, deep, task.author.email, task.state === "open"];
});
client.subscribe("messages:42", (event) => {
  if (event.type === "message.created") event.payload.priority satisfies 1 | 2 | -0.5;
  if (event.type === "reaction.added") event.payload.emoji satisfies string;
});
client.subscribe("messages:42:reactions", (event) => {
  event.type satisfies "reaction.added";
});
client.subscribe("project:7:tasks", (event) => {
  event.payload.author.name satisfies string;
});
client.subscribe("messages:*", (event) => {
  event.type satisfies "message.created" | "message.edited" | "reaction.added";
});
client.subscribe("*", (event) => {
  event.type satisfies keyof Events;
});
client.on("event", (event: FeedEvent<Events>) => {
  if (event.type === "project.renamed") event.payload.from satisfies string;
});
// @ts-expect-error there is no such channel
client.subscribe("task", () => {});
// @ts-expect-error done is no text
const wrong: Pick<Task, "done"> = { done: "yes" };
const none: Events["message.edited"] = {};
export { none, wrong };
"#;

#[test]
fn a_schema_becomes_types_that_narrow() {
    let wanted = fs::read_to_string(golden().join("feed.ts")).expect("it is here");
    assert_eq!(generated(golden(), &["feed.toml"]), wanted);
    let folder = project(&[("feed.ts", &wanted), ("narrows.ts", NARROWS)]);
    compile(&folder);
    assert_formatted(&folder, "feed.ts");
}

#[test]
fn names_do_not_become_code() {
    let schema = r#"
# */ export const evil = 1; /*
[events."a\"b"]
# ${evil} */ still a comment
"x`${1}`" = "string"
"*/ evil(); /*" = "'\"' | \"'\""
"new\nline" = "'${x}`\\'"
"" = "number"
"größe" = "number"
"\u202Etxet" = "'\u2028'"
"\u3164" = "number"
class = "boolean"
"1" = "null"
__proto__ = "number"
[channels]
"a@b/c.d-e" = ["a\"b"]
"#;
    let uses = r#"
import type { Events } from "./feed.js";
export const value: Events['a"b'] = {
  "x`${1}`": "s", "*/ evil(); /*": "'", "new\nline": "${x}`\\", "": 1, größe: 2, "\u202Etxet": "\u2028", "\u3164": 4, class: true,
  "1": null, ["__proto__"]: 3,
};
"#;
    let folder = temp_dir();
    fs::write(folder.path().join("feed.toml"), schema).expect("the folder is ours");
    let text = generated(folder.path(), &["feed.toml"]);
    assert_eq!(text.matches("\nexport ").count(), 2, "{text}");
    assert!(
        !text.contains(['\u{202e}', '\u{2028}', '\u{3164}']),
        "{text}"
    );
    let project = project(&[("feed.ts", &text), ("uses.ts", uses)]);
    compile(&project);
    assert_formatted(&project, "feed.ts");
}

/// Lines are broken by the columns that they take, of which most characters of East Asia take two.
#[test]
fn names_are_as_wide_as_editors_show_them() {
    let mut schema = String::from("[events.\"task.created\"]\n");
    for c in ['a', 'é', 'ж', 'ﾀ', '課', '한', 'ａ', '𠮷'] {
        for n in 20..80 {
            let name = c.to_string().repeat(n);
            writeln!(schema, "\"{name}\" = \"boolean | number | null\"").expect("it is memory");
        }
    }
    let folder = temp_dir();
    fs::write(folder.path().join("feed.toml"), schema).expect("the folder is ours");
    let text = generated(folder.path(), &["feed.toml"]);
    let project = project(&[("feed.ts", &text)]);
    compile(&project);
    assert_formatted(&project, "feed.ts");
}

#[test]
fn what_is_wrong_with_a_schema_is_told_with_its_line() {
    let event = "[events]\nsome = \"string\"\n";
    let cases = [
        ("", "there are no events"),
        ("[events]\n", "there are no events"),
        (
            "[event.a]\n",
            "feed.toml:1: event: a schema has [channels], [types] and [events]; did you mean events?",
        ),
        ("[events]\na = string\n", "feed.toml:2: column 5: "),
        (
            "[events]\na = 5\n",
            "feed.toml:2: events.a: a type is a text, as \"number\", or a table of members",
        ),
        (
            "[events]\na = [\"b\"]\n",
            "feed.toml:2: events.a: an array is written as a text, \"string[]\"",
        ),
        (
            "events = 1\n",
            "feed.toml:1: events: write it as a table: [events.\"task.created\"]",
        ),
        (
            "[events]\n\"a b\" = \"string\"\n",
            "feed.toml:2: events.\"a b\": the type of an event is one word",
        ),
        (
            "[events.\"t.x\"]\nid = \"string\"\nok = \"bolean\"\n",
            "feed.toml:3: events.\"t.x\".ok: there is no type bolean; did you mean boolean?",
        ),
        (
            "[events.a]\nat = \"Date\"\n",
            "feed.toml:2: events.a.at: there is no type Date; write string; a payload is JSON",
        ),
        (
            "[events.a]\nx = \"int\"\n",
            "there is no type int; write number",
        ),
        (
            "[events.a]\nx = \"string | undefined\"\n",
            "what may be missing has a ? behind its name",
        ),
        (
            "[events.a]\nx = \"Tsak[]\"\n[types]\nTask = \"string\"\n",
            "feed.toml:2: events.a.x: there is no type Tsak; did you mean Task?",
        ),
        (
            "[events.a]\nb = { \"c?\" = \"nope\" }\n",
            "feed.toml:2: events.a.b.c: there is no type nope",
        ),
        (
            "[events.a]\nx = \"\"\n",
            "feed.toml:2: events.a.x: a type is missing",
        ),
        ("[events.a]\nx = \"string |\"\n", "the type ends too early"),
        (
            "[events.a]\nx = \"string, null\"\n",
            "several types are joined by |",
        ),
        ("[events.a]\nx = \"(string\"\n", "a ( without its )"),
        (
            "[events.a]\nx = \"string)\"\n",
            "there is one \")\" too much",
        ),
        ("[events.a]\nx = \"string[3]\"\n", "[ needs its ] at once"),
        ("[events.a]\nx = \"'open\"\n", "a ' without the second one"),
        (
            "[events.a]\nx = \"Array<string>\"\n",
            "an array is written string[]",
        ),
        (
            "[events.a]\nx = \"Record<number, string>\"\n",
            "a record is written Record<string, number>",
        ),
        (
            "[events.a]\nx = \"{ a: string }\"\n",
            "members are written as a table",
        ),
        ("[events.a]\nx = \"007\"\n", "\"007\" is no number"),
        (
            "[events.a]\nx = \"string; evil()\"\n",
            "\"; evil()\" does not belong behind a type",
        ),
        (
            "[events.a]\nx = \"string\"\n\"x?\" = \"string\"\n",
            "feed.toml:3: events.a.x: it is there twice",
        ),
        (
            "[types]\ntask = \"string\"\n",
            "feed.toml:2: types.task: the name of a type begins with a capital letter",
        ),
        (
            "[types]\n\"A; evil\" = \"string\"\n",
            "feed.toml:2: types.\"A; evil\": the name of a type",
        ),
        (
            "[types]\nRecord = \"string\"\n",
            "feed.toml:2: types.Record: this name is taken",
        ),
        (
            "[types]\nA = \"B | null\"\nB = \"string | A\"\n[events]\nx = \"A\"\n",
            "feed.toml:2: types.A: A is made of itself",
        ),
        (
            "[channels]\ntasks = [\"sme\"]\n",
            "feed.toml:2: channels.tasks: there is no event \"sme\" in [events]; did you mean some?",
        ),
        (
            "[channels]\ntasks = \"some\"\n",
            "feed.toml:2: channels.tasks: write a list of types of events",
        ),
        (
            "[channels]\ntasks = [1]\n",
            "feed.toml:2: channels.tasks: write a list of types of events",
        ),
        (
            "[channels]\n\"*\" = [\"some\"]\n",
            "feed.toml:2: channels.\"*\": * is there without being said",
        ),
        (
            "[channels]\n\"a b\" = [\"some\"]\n",
            "feed.toml:2: channels.\"a b\": channel name has the character ' '",
        ),
        ("[channels]\n\"a:{id\" = [\"some\"]\n", "a { without its }"),
        (
            "[channels]\n\"a:{}\" = [\"some\"]\n",
            "a parameter is a word in braces",
        ),
        (
            "[channels]\n\"a:{x}{y}\" = [\"some\"]\n",
            "two parameters need something between them",
        ),
        (
            "[channels]\n\"a:{x}\" = [\"some\"]\n\"a:{y}\" = [\"some\"]\n",
            "feed.toml:3: channels.\"a:{y}\": these are the same channels as a:{x}",
        ),
        (
            "[channels]\n\"`+evil+`\" = [\"some\"]\n",
            "channel name has the character '`'",
        ),
    ];
    let folder = temp_dir();
    let path = folder.path().join("feed.toml");
    for (schema, wanted) in cases {
        // Every one of them is wrong in one thing only.
        let whole = if schema.contains("[events")
            || schema.is_empty()
            || wanted.contains("event:")
            || schema.starts_with("events")
        {
            schema.to_owned()
        } else {
            format!("{schema}{event}")
        };
        fs::write(&path, &whole).expect("the folder is ours");
        let done = generate(folder.path(), &["feed.toml"]);
        assert!(
            done.stderr.contains(wanted),
            "{whole}\n{}\n{wanted}",
            done.stderr
        );
        assert_eq!(done.code, Some(64), "{whole}\n{}", done.stderr);
        assert!(
            done.stderr.starts_with("rowcast: ") && done.stderr.lines().count() == 1,
            "{}",
            done.stderr
        );
        assert_eq!(done.stdout, "");
    }
}

#[test]
fn a_name_with_a_dot_needs_quotes() {
    let folder = temp_dir();
    let schema = "[channels]\ntasks = [\"task.created\"]\n[events.task.created]\nid = \"string\"\n";
    fs::write(folder.path().join("feed.toml"), schema).expect("the folder is ours");
    let done = generate(folder.path(), &["feed.toml"]);
    let wanted = "a name with a dot stands in quotes: [events.\"task.created\"]";
    assert!(done.stderr.contains(wanted), "{}", done.stderr);
}

#[test]
fn depths_and_sizes_are_bounded() {
    let folder = temp_dir();
    let path = folder.path().join("feed.toml");
    for (part, wanted) in [
        ("(", "32 deep"),
        ("string[]", "32 deep"),
        ("[", "begins no type"),
    ] {
        let text = part.replace("string[]", &format!("string{}", "[]".repeat(100_000)));
        let text = if text.len() < 10 {
            text.repeat(100_000)
        } else {
            text
        };
        fs::write(&path, format!("[events]\na = \"{text}\"\n")).expect("the folder is ours");
        let done = generate(folder.path(), &["feed.toml"]);
        assert!(done.stderr.contains(wanted), "{}", done.stderr);
    }
    fs::write(&path, "#".repeat(2 << 20)).expect("the folder is ours");
    let done = generate(folder.path(), &["feed.toml"]);
    assert!(done.stderr.contains("1 MiB at most"), "{}", done.stderr);
    for name in [".", "nothing.toml"] {
        let done = generate(folder.path(), &[name]);
        assert_eq!(done.code, Some(64), "{}", done.stderr);
        assert!(
            done.stderr.contains(&format!("rowcast: {name}: ")),
            "{}",
            done.stderr
        );
    }
}
