//! Scopes by table and by property.

use proptest::prelude::*;

use super::*;

fn set(text: &str) -> ScopeSet {
    let (set, refused) = ScopeSet::parse(text);
    assert!(refused.is_empty(), "{text}: {refused:?}");
    set
}

fn rtype(name: &str) -> ResourceType {
    ResourceType::from_name(name).unwrap()
}

#[test]
fn scp_02_and_06_versions_and_splits_print_in_one_form() {
    for (text, want) in [
        ("system/Observation.rs", "system/Observation.rs"),
        ("system/Observation.r system/Observation.s", "system/Observation.rs"),
        ("system/Observation.read", "system/Observation.rs"),
        ("system/Observation.write", "system/Observation.cud"),
        ("system/Observation.*", "system/Observation.cruds"),
        ("system/*.read", "system/*.rs"),
        ("system/*.*", "system/*.cruds"),
        ("system/*.rs system/Observation.r", "system/*.rs"),
        ("system/Observation.crs system/*.rs", "system/*.rs system/Observation.c"),
        ("system/Patient.r  system/Account.s", "system/Account.s system/Patient.r"),
        ("", ""),
    ] {
        assert_eq!(set(text).to_string(), want, "{text}");
    }
}

#[test]
fn scp_03_04_and_12_tokens_are_refused_whole() {
    for token in [
        "system/Observation.dus",
        "system/Observation.rd.",
        "system/Observation.readd",
        "system/Observation.read-only",
        "system/Observation.rrs",
        "system/Observation.sr",
        "system/Observation.",
        "system/Observation",
        "system/observation.rs",
        "system/Foo.r",
        "system/.rs",
        "system/*",
        "system/**.rs",
        "System/Observation.rs",
        "system/Observation.rs?active",
        "system/Observation.rs?category=lab",
        "system/Observation.RS",
        "system/Observation.r\ts",
        "system//Observation.rs",
        "patient/Observation.rs",
        "user/*.rs",
        "openid",
        "udap",
        ".read",
    ] {
        let (set, refused) = ScopeSet::parse(token);
        assert!(set.is_empty(), "{token} gave {set}");
        assert_eq!(refused, [token], "{token}");
    }
    let (kept, refused) = ScopeSet::parse("openid system/Patient.r fhirUser");
    assert_eq!(kept.to_string(), "system/Patient.r");
    assert_eq!(refused, ["openid", "fhirUser"]);
}

#[test]
fn scp_01_letters_are_granted_one_by_one() {
    for granted in Letter::ALL {
        let set = set(&format!("system/Observation.{}", granted.letter()));
        for asked in Letter::ALL {
            assert_eq!(set.allows(rtype("Observation"), asked), asked == granted);
            assert!(!set.allows(rtype("Patient"), asked));
        }
    }
}

#[test]
fn stored_sets_are_read_strictly() {
    assert_eq!(ScopeSet::try_from("system/*.rs".to_owned()), Ok(set("system/*.rs")));
    assert_eq!(ScopeSet::try_from("system/*.rs x".to_owned()), Err(ScopeError));
}

fn any_set() -> impl Strategy<Value = ScopeSet> {
    let token = (prop::sample::select(vec!["*", "Patient", "Observation", "Account"]), 1_u8..32);
    prop::collection::vec(token, 0..5).prop_map(|tokens| {
        let words: Vec<String> = tokens
            .iter()
            .map(|(target, bits)| format!("system/{target}.{}", Letters(*bits)))
            .collect();
        set(&words.join(" "))
    })
}

proptest! {
    #[test]
    fn sets_behave_like_sets_of_pairs(a in any_set(), b in any_set()) {
        let both = a.intersect(&b);
        for name in ["Patient", "Observation", "Account", "Device"] {
            for letter in Letter::ALL {
                let (in_a, in_b) = (a.allows(rtype(name), letter), b.allows(rtype(name), letter));
                prop_assert_eq!(both.allows(rtype(name), letter), in_a && in_b);
                prop_assert!(!a.contains(&b) || !in_b || in_a);
            }
        }
        prop_assert!(a.contains(&both) && b.contains(&both) && a.contains(&a));
        prop_assert_eq!(set(&a.to_string()), a);
    }

    #[test]
    fn arbitrary_text_never_panics_and_grants_only_what_it_says(text in ".{0,80}") {
        let (set, _) = ScopeSet::parse(&text);
        prop_assert!(set.is_empty() || text.contains("system/"));
    }
}
