//! Every check holds for the committed corpus and for seeded mutations of it: the short run of the fuzz
//! targets that needs no fuzzer. `just fuzz` is the long one.

use std::fs;
use std::path::PathBuf;

use ward_core::{Rng as _, SeededRng};
use ward_fuzz_checks::TARGETS;

/// Mutations of each seed; the time of the slowest target (tiles) bounds it.
const MUTATIONS: usize = 60;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(name);
    let mut paths: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One to four small changes, some with a piece of another seed.
fn mutated(seed: &[u8], other: &[u8], rng: &SeededRng) -> Vec<u8> {
    let below = |n: usize| usize::try_from(rng.next_u64() % (n.max(1) as u64)).unwrap();
    let mut out = seed.to_vec();
    for _ in 0..=below(4) {
        let at = below(out.len() + 1);
        match below(6) {
            0 => out.truncate(at),
            1 => out.insert(at, u8::try_from(below(256)).unwrap()),
            2 if at < out.len() => drop(out.remove(at)),
            3 if at < out.len() => out[at] ^= 1 << below(8),
            4 => {
                let from = below(other.len());
                let piece = &other[from..(from + below(40)).min(other.len())];
                out.splice(at..at, piece.iter().copied());
            }
            _ => {
                let end = (at + below(20)).min(out.len());
                let piece = out[at..end].to_vec();
                out.splice(at..at, piece);
            }
        }
    }
    out
}

/// A target that only one of the two knew would never run, or never in the checks.
#[test]
fn the_fuzzer_and_this_test_know_the_same_targets() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz_targets");
    let stem = |entry: fs::DirEntry| entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| stem(entry.unwrap())).collect();
    files.sort();
    let mut names: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort();
    assert_eq!(files, names);
}

#[test]
fn every_check_holds_for_the_corpus_and_around_it() {
    for (name, check) in TARGETS {
        let seeds = corpus(name);
        assert!(seeds.len() >= 3, "{name} has too small a corpus");
        let rng = SeededRng::new(20);
        let (mut believed, mut refused) = (0, 0);
        for (at, seed) in seeds.iter().enumerate() {
            assert!(seed.len() <= 64 * 1024, "{name}: a seed is large");
            let (mut yes, mut no) = (usize::from(check(seed)), 0);
            for _ in 0..MUTATIONS {
                let other =
                    &seeds[(at + usize::from(rng.next_u64().is_multiple_of(2))) % seeds.len()];
                if check(&mutated(seed, other, &rng)) {
                    yes += 1;
                } else {
                    no += 1;
                }
            }
            (believed, refused) = (believed + yes, refused + no);
        }
        // Without both, a check shows nothing.
        assert!(believed >= 3 && refused >= 3, "{name}: {believed} believed, {refused} refused");
    }
}
