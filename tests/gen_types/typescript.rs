//! The TypeScript compiler and Biome's formatter, on generated files.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::support::{npm, temp_dir};

/// A folder with these files, in which `@rowcast/client` is the client of this repository.
pub fn project(files: &[(&str, &str)]) -> TempDir {
    let folder = temp_dir();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("the folder is ours");
    }
    let source = npm::clients().join("core/src/index.ts");
    let options = serde_json::json!({
        "compilerOptions": {
            "strict": true, "noUncheckedIndexedAccess": true, "exactOptionalPropertyTypes": true,
            "isolatedModules": true, "isolatedDeclarations": true, "declaration": true, "noEmit": true,
            "erasableSyntaxOnly": true, "verbatimModuleSyntax": true, "skipLibCheck": false,
            "module": "nodenext", "target": "es2022", "lib": ["es2023", "dom", "dom.iterable"], "types": [],
            "paths": { "@rowcast/client": [source] },
        },
        "include": ["*.ts"],
    });
    let options = serde_json::to_string(&options).expect("it is JSON");
    fs::write(folder.path().join("tsconfig.json"), options).expect("the folder is ours");
    let package = r#"{"type":"module"}"#;
    fs::write(folder.path().join("package.json"), package).expect("the folder is ours");
    folder
}

/// Fails where the compiler has something to say.
pub fn compile(folder: &TempDir) {
    let tsc = npm::clients().join("node_modules/.bin/tsc");
    npm::succeed(Command::new(tsc).arg("-p").arg(folder.path()));
}

/// Fails where the formatter would change something. Its defaults, but
/// for tabs, and for names beyond ASCII, which Biome writes without quotes and Prettier with them.
pub fn assert_formatted(folder: &TempDir, file: &str) {
    let options = r#"{"root":true,"formatter":{"indentStyle":"space"},"javascript":{"formatter":{"quoteProperties":"preserve"}},"files":{"maxSize":10000000}}"#;
    fs::write(folder.path().join("biome.json"), options).expect("the folder is ours");
    let biome = npm::clients().join("node_modules/.bin/biome");
    let mut command = Command::new(biome);
    npm::succeed(command.args(["format", file]).current_dir(folder.path()));
}
