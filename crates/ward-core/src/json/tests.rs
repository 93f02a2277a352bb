use super::*;

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for (text, want) in [
        (r#"{"a":1,"a":2}"#, JsonError::Duplicate),
        (r#"{"a":1,"\u0061":2}"#, JsonError::Duplicate),
        (r#"[{"x":{"a":1,"a":1}}]"#, JsonError::Duplicate),
        ("\u{feff}{}", JsonError::Malformed),
        ("{} {}", JsonError::Malformed),
        ("", JsonError::Malformed),
        (r#""\ud800""#, JsonError::Malformed),
        ("1e9999", JsonError::Malformed),
        ("{\"a\":NaN}", JsonError::Malformed),
        ("[[[[[1]]]]]", JsonError::TooDeep),
    ] {
        assert_eq!(parse(text.as_bytes(), 4), Err(want), "{text}");
    }
    assert_eq!(parse(b"\xff\"\"", 4), Err(JsonError::Malformed));
    let deep = "[".repeat(10_000);
    assert!(parse(deep.as_bytes(), 32).is_err());
    assert_eq!(parse(b"[[[[1]]]]", 4).unwrap(), serde_json::json!([[[[1]]]]));
}
