//! What is kept on disk: damage is refused, never passed over. The rest is in `tests/it/bundle.rs`, over sockets.

use ward_core::{CommunityUri, Limits, Rng as _, SeededRng};

use super::{Kept, KeptError, Source};

#[test]
fn a_damaged_file_is_refused_and_says_the_way_out() {
    let rng = SeededRng::new(u64::from(std::process::id()) + 77);
    let data = std::env::temp_dir().join(format!("ward-kept-{:x}", rng.next_u64()));
    let uri = CommunityUri::parse("urn:example:community").unwrap();
    let limits = Limits::default();
    assert!(Kept::read(&data, &uri, &limits).unwrap().is_none());
    std::fs::create_dir_all(data.join("bundles")).unwrap();
    for bad in ["", "{}", "{\"v\":2}", "junk"] {
        std::fs::write(super::kept::place(&data, &uri), bad).unwrap();
        let error = Kept::read(&data, &uri, &limits).unwrap_err();
        assert!(matches!(error, KeptError::Damaged(_)), "{bad}");
        assert!(error.to_string().contains("restore it from a backup"), "{error}");
    }
    std::fs::remove_dir_all(&data).unwrap();
}

#[test]
fn a_place_is_a_url_or_a_file() {
    assert!(matches!(Source::of("https://a.example/b"), Source::Url(_)));
    assert!(matches!(Source::of("http://a.example/b"), Source::Url(_)));
    assert!(matches!(Source::of("bundles/a.jwt"), Source::File(_)));
}
