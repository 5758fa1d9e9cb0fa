//! `--out` and `--check`.

use std::fs;

use super::support::temp_dir;
use super::{generate, generated};

const SCHEMA: &str =
    "[channels]\ntasks = [\"task.created\"]\n[events]\n\"task.created\" = { id = \"string\" }\n";

#[test]
fn a_file_is_written_only_when_it_is_different() {
    let folder = temp_dir();
    let out = folder.path().join("feed.ts");
    let write = |schema: &str| {
        fs::write(folder.path().join("feed.toml"), schema).expect("the folder is ours");
    };
    let arguments = ["feed.toml", "--out", "feed.ts"];
    let check = || generate(folder.path(), &["feed.toml", "--out", "feed.ts", "--check"]);

    write(SCHEMA);
    let done = check();
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(
        done.stderr.contains("feed.ts: there is no such file"),
        "{}",
        done.stderr
    );
    assert!(!out.exists());

    assert_eq!(
        generated(folder.path(), &arguments),
        "wrote feed.ts (events: 1, channels: 1)\n"
    );
    assert_eq!(
        fs::read_to_string(&out).expect("written"),
        generated(folder.path(), &["feed.toml"])
    );
    assert_eq!(check().code, Some(0));
    let first = fs::metadata(&out)
        .and_then(|found| found.modified())
        .expect("written");
    assert_eq!(
        generated(folder.path(), &arguments),
        "feed.ts is up to date (events: 1, channels: 1)\n"
    );
    assert_eq!(
        fs::metadata(&out)
            .and_then(|found| found.modified())
            .expect("written"),
        first
    );

    write(&format!(
        "{}\"task.closed\" = \"null\"\n",
        SCHEMA.replace("string", "number")
    ));
    let stale = "Events: changed \"task.created\"; Events: new \"task.closed\"";
    let before = fs::read(&out).expect("written");
    let done = check();
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(
        done.stderr.contains(stale) && done.stderr.contains("without --check"),
        "{}",
        done.stderr
    );
    assert_eq!(fs::read(&out).expect("written"), before);
    assert!(generated(folder.path(), &arguments).contains(stale));
    assert_eq!(check().code, Some(0));

    // What editors on Windows, and other formatters, make of it is no difference.
    let text = fs::read_to_string(&out).expect("written");
    let other = text
        .replace(";\n", "\n")
        .replace('"', "'")
        .replace("  ", "\t");
    for formatted in [text.replace('\n', "\r\n"), other] {
        fs::write(&out, formatted).expect("the folder is ours");
        assert_eq!(check().code, Some(0));
    }
    // What is meant is told all the same.
    fs::write(&out, text.replace("  ", "\t").replace("null", "string"))
        .expect("the folder is ours");
    let done = check();
    assert!(
        done.stderr
            .contains("feed.ts: Events: changed \"task.closed\";"),
        "{}",
        done.stderr
    );
    let rest = fs::read_dir(folder.path()).expect("it is there").count();
    assert_eq!(rest, 2, "only the schema and the types are left");
}

#[test]
fn files_of_others_are_left_alone() {
    let folder = temp_dir();
    fs::write(folder.path().join("feed.toml"), SCHEMA).expect("the folder is ours");
    fs::write(folder.path().join("mine.ts"), "export const mine = 1;\n")
        .expect("the folder is ours");
    let done = generate(folder.path(), &["feed.toml", "--out", "mine.ts"]);
    assert_eq!(done.code, Some(64), "{}", done.stderr);
    assert!(
        done.stderr
            .contains("--out mine.ts: this file was not made by `rowcast gen types`"),
        "{}",
        done.stderr
    );
    let kept = fs::read_to_string(folder.path().join("mine.ts")).expect("it is there");
    assert_eq!(kept, "export const mine = 1;\n");
    let done = generate(folder.path(), &["feed.toml", "--out", "nowhere/feed.ts"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(
        done.stderr.contains("failed to write nowhere/feed.ts: "),
        "{}",
        done.stderr
    );
}

#[cfg(unix)]
#[test]
fn links_and_permissions_are_kept() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = temp_dir();
    fs::write(folder.path().join("feed.toml"), SCHEMA).expect("the folder is ours");
    let real = folder.path().join("real.ts");
    fs::write(&real, "").expect("the folder is ours");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("the file is ours");
    symlink("real.ts", folder.path().join("feed.ts")).expect("links can be made");
    generated(folder.path(), &["feed.toml", "--out", "feed.ts"]);
    assert!(folder.path().join("feed.ts").is_symlink());
    let mode = fs::metadata(&real)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    assert!(
        fs::read_to_string(&real)
            .expect("it is there")
            .contains("interface Events")
    );
    // A new one is readable by others, as what an editor writes.
    generated(folder.path(), &["feed.toml", "--out", "new.ts"]);
    let mode = fs::metadata(folder.path().join("new.ts"))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o600, 0o600);
    fs::write(folder.path().join("plain"), "").expect("the folder is ours");
    let plain = fs::metadata(folder.path().join("plain"))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode, plain);
}

/// A device has no end, and a file must not take the place of a folder.
#[test]
fn what_is_no_file_is_not_written_to() {
    let folder = temp_dir();
    fs::write(folder.path().join("feed.toml"), SCHEMA).expect("the folder is ours");
    for out in [".", "/dev/zero"] {
        let done = generate(folder.path(), &["feed.toml", "--out", out]);
        assert_eq!(done.code, Some(64), "{}", done.stderr);
        assert!(done.stderr.contains("this is no file"), "{}", done.stderr);
    }
}
