//! What is fuzzed: a function for each target of `fuzz/`, which is given any bytes and panics where a property does not
//! hold. The properties are written down beside what they are about, in the `fuzz.rs` of each module.
//!
//! It is there only in builds for fuzzing and in unit tests, which replay the corpus of the repository.

/// What clients send over a WebSocket: the text of a frame, and the bytes that frames are in.
pub fn client_frames(data: &[u8]) {
    crate::protocol::fuzz::frame(&String::from_utf8_lossy(data));
    crate::http::fuzz::codec(data);
}

/// Tokens: accepted are those that a key signed, and they grant what they say.
pub fn tokens(data: &[u8]) {
    crate::auth::fuzz::token(data);
}

/// Cursors: each has one text, and their order keeps its laws.
pub fn cursors(data: &[u8]) {
    crate::cursor::fuzz::cursors(data);
}

/// Channels, patterns and grants: what is received is what was asked for and is granted.
pub fn channel_names(data: &[u8]) {
    crate::auth::fuzz::channels(&String::from_utf8_lossy(data));
}

/// What operators write (flags, keys, files of grants and origins) and what is read before a session begins: headers
/// and queries.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    crate::cli::fuzz::arguments(&text);
    crate::source::fuzz::url(&text);
    crate::auth::fuzz::keys(data);
    crate::http::fuzz::request(&text);
}

/// Configuration files.
pub fn config_file(data: &[u8]) {
    crate::cli::fuzz::config_file(&String::from_utf8_lossy(data));
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// Most files of a corpus, and the bytes of each: it is in the repository, and replayed with each run of the tests.
    const FILES_MAX: usize = 44;
    const BYTES_MAX: usize = 1024;

    /// Inputs that are made up for each target.
    const VARIANTS: usize = 500;

    fn replay(name: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let folder = folder.join(name);
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
            .expect("the corpus is in the repository")
            .map(|entry| entry.expect("folders can be read").path())
            .collect();
        files.sort();
        let count = files.len();
        assert!((1..=FILES_MAX).contains(&count), "{name}: {count} files");
        let mut known = Vec::new();
        for file in files {
            let data = std::fs::read(&file).expect("files can be read");
            assert!(
                data.len() <= BYTES_MAX,
                "{}: {} bytes",
                file.display(),
                data.len()
            );
            // Which one fails is said above the panic.
            eprintln!("{}", file.display());
            target(&data);
            known.push(data);
        }
        search(&known, target);
    }

    /// Changes what is known at random: a search without a map, for every run of the tests. scripts/fuzz has one.
    fn search(known: &[Vec<u8>], target: fn(&[u8])) {
        let seed = std::env::var("ROWCAST_SEED").ok();
        let seed = seed.and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..VARIANTS {
            let mut data = known[random.usize(..known.len())].clone();
            for _ in 0..random.usize(1..=4) {
                change(&mut data, known, &mut random);
            }
            // Which one fails is said above the panic.
            eprintln!("ROWCAST_SEED={seed}: {:?}", String::from_utf8_lossy(&data));
            target(&data);
        }
    }

    fn change(data: &mut Vec<u8>, known: &[Vec<u8>], random: &mut fastrand::Rng) {
        let at = random.usize(..=data.len());
        match random.u8(..5) {
            0 => data.insert(at, random.u8(..)),
            1 => data.truncate(at),
            2 if at < data.len() => data[at] ^= 1 << random.u8(..8),
            3 if at < data.len() => drop(data.remove(at)),
            _ => {
                let other = &known[random.usize(..known.len())];
                let from = random.usize(..=other.len());
                data.truncate(at);
                data.extend(&other[from..]);
            }
        }
    }

    #[test]
    fn the_corpus_of_client_frames_keeps_the_laws() {
        replay("client_frames", super::client_frames);
    }

    #[test]
    fn the_corpus_of_tokens_keeps_the_laws() {
        replay("tokens", super::tokens);
    }

    #[test]
    fn the_corpus_of_cursors_keeps_the_laws() {
        replay("cursors", super::cursors);
    }

    #[test]
    fn the_corpus_of_channel_names_keeps_the_laws() {
        replay("channel_names", super::channel_names);
    }

    #[test]
    fn the_corpus_of_config_keeps_the_laws() {
        replay("config", super::config);
    }

    #[test]
    fn the_corpus_of_config_files_keeps_the_laws() {
        replay("config_file", super::config_file);
    }
}
