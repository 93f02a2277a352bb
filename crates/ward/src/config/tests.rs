//! Faults of a configuration, as people make them: each names its line, its key and the way out.

use std::collections::BTreeSet;

use serde::Deserialize as _;

use super::spec::{Kind, ROOT, Section};
use super::*;

const GOOD: &str = r#"mode = "enforce"

[listen]
address = "127.0.0.1:8443"
origin = "https://ward.example.org"
certificate = "tls/certificate.pem"
key = "tls/key.pem"

[upstream]
base = "http://127.0.0.1:8080/fhir"
allow_private = true

[[community]]
uri = "https://community.example/trust"
anchors = "community/anchors.pem"
certificate = "community/certificate.pem"
key = "community/key.pem"

[scopes]
supported = ["system/Patient.rs", "system/Observation.rs"]

[keys]
key_file = "vault.key"
"#;

fn faults(text: &str) -> Vec<Problem> {
    match Config::parse(text) {
        Ok(config) => config.problems(),
        Err(problems) => problems,
    }
}

#[test]
fn a_good_file_is_read_with_its_defaults() {
    assert_eq!(faults(GOOD), vec![]);
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(config.data, Path::new("data"));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.detection.patients, 500);
    assert_eq!(config.community[0].purposes, [Purpose::Treatment]);
    assert_eq!(config.fhir_base(), "https://ward.example.org/default/fhir");
    assert!(config.admin.address.ip().is_loopback());
}

/// (what is replaced, by what, line, key, what the message must say)
type Row = (&'static str, &'static str, usize, &'static str, &'static str);

#[test]
fn each_fault_names_its_line_its_key_and_the_way_out() {
    const ROWS: &[Row] = &[
        ("address =", "adress =", 4, "listen.adress", "did you mean `address`?"),
        ("origin =", "Origin =", 5, "listen.Origin", "did you mean `origin`?"),
        (
            "allow_private =",
            "allow-private =",
            11,
            "upstream.allow-private",
            "did you mean `allow_private`?",
        ),
        ("[upstream]", "[upstrem]", 9, "upstrem", "did you mean `upstream`?"),
        ("[[community]]", "[[communities]]", 13, "communities", "did you mean `community`?"),
        (
            "base =",
            "anchors = \"x\"\nbase =",
            10,
            "upstream.anchors",
            "it belongs elsewhere: `community.anchors`",
        ),
        (
            "base =",
            "colour = \"x\"\nbase =",
            10,
            "upstream.colour",
            "known here are: base, allow_private",
        ),
        ("mode = \"enforce\"", "mode = \"enforced\"", 1, "mode", "did you mean \"enforce\"?"),
        ("mode = \"enforce\"", "mode = 1", 1, "mode", "write one of \"observe\", \"enforce\""),
        (
            "[keys]",
            "[observe.rules]\nROSTR = \"enforce\"\n[keys]",
            0,
            "observe.rules.ROSTR",
            "did you mean `ROSTER`?",
        ),
        (
            "[keys]",
            "[observe.rules]\nrsv-02 = \"enforce\"\n[keys]",
            0,
            "observe.rules.rsv-02",
            "did you mean `RSV-02`?",
        ),
        (
            "[keys]",
            "[observe.clients]\nanonymus = \"enforce\"\n[keys]",
            0,
            "observe.clients.anonymus",
            "did you mean \"anonymous\"?",
        ),
        (
            "[keys]",
            "[observe.clients]\n\"our app\" = \"enforce\"\n[keys]",
            0,
            "observe.clients.our app",
            "neither a client's URI nor its id",
        ),
        (
            "[keys]",
            "[observe.clients]\n\"https://a.example/app\" = \"observe\"\n[keys]",
            0,
            "observe.clients",
            "mode is enforce, which enforces everything",
        ),
        ("\"127.0.0.1:8443\"", "\"localhost\"", 4, "listen.address", "no address with a port"),
        ("\"127.0.0.1:8443\"", "8443", 4, "listen.address", "an address and port in quotes"),
        (
            "allow_private = true",
            "allow_private = \"yes\"",
            11,
            "upstream.allow_private",
            "true or false",
        ),
        ("[[community]]", "[community]", 13, "community", "double brackets"),
        (
            "[keys]",
            "[limits]\nheader_byte = 1\n[keys]",
            23,
            "limits.header_byte",
            "did you mean `header_bytes`?",
        ),
        (
            "[keys]",
            "[limits]\nclock_skew = 10\n[keys]",
            23,
            "limits.clock_skew",
            "a duration with its unit",
        ),
        (
            "[keys]",
            "[limits]\naccess_token_life = \"1d\"\n[keys]",
            23,
            "limits.access_token_life",
            "between 10s and 1h",
        ),
        (
            "[keys]",
            "[limits]\npage_max = 10\n[keys]",
            0,
            "limits.page_default",
            "is larger than page_max",
        ),
        (
            "[keys]",
            "[detection.purposes.TREATMENT]\npatients = 1\nwindow = \"1h\"\n[keys]",
            22,
            "detection.purposes.TREATMENT",
            "\"TREAT\"",
        ),
        (
            "[keys]",
            "[detection.purposes.TREAT]\npatients = 1\n[keys]",
            22,
            "detection.purposes.TREAT.window",
            "is missing",
        ),
        (
            "[keys]",
            "[observe.rules]\nROSTER = \"on\"\n[keys]",
            23,
            "observe.rules.ROSTER",
            "\"observe\"",
        ),
        (
            "key = \"community/key.pem\"",
            "key = \"community/key.pem\"\npurposes = [\"TREAT\", \"TREET\"]",
            18,
            "community[0].purposes[1]",
            "did you mean \"TREAT\"?",
        ),
        ("origin = \"https://", "origin = \"http://", 5, "listen.origin", "write https://"),
        (
            "ward.example.org\"",
            "ward.example.org/\"",
            5,
            "listen.origin",
            "write \"https://ward.example.org\"",
        ),
        (
            "ward.example.org\"",
            "ward.example.org/fhir\"",
            5,
            "listen.origin",
            "more than a scheme, a host and a port",
        ),
        ("ward.example.org\"", "Ward.example.org\"", 5, "listen.origin", "letter by letter"),
        (
            "ward.example.org\"",
            "ward.example.org:443\"",
            5,
            "listen.origin",
            "the port that https has anyway",
        ),
        (
            "ward.example.org\"",
            "ward.example.org:99999\"",
            5,
            "listen.origin",
            "no URL with a host",
        ),
        ("http://127", "ftp://127", 10, "upstream.base", "no http or https URL"),
        ("8080/fhir\"", "8080/fhir/\"", 10, "upstream.base", "ends with a slash"),
        ("http://127", "http://user:pass@127", 10, "upstream.base", "authorization_file"),
        ("allow_private = true", "ca = \"ca.pem\"", 11, "upstream.ca", "without TLS"),
        (
            "uri = \"https://community.example/trust\"",
            "uri = \"my community\"",
            14,
            "community[0].uri",
            "is no URI",
        ),
        (
            "\"system/Observation.rs\"",
            "\"user/Observation.rs\"",
            20,
            "scopes.supported",
            "is no system scope",
        ),
        (
            "\"system/Patient.rs\", \"system/Observation.rs\"",
            "",
            20,
            "scopes.supported",
            "grants nothing",
        ),
        ("key_file = \"vault.key\"", "", 22, "keys", "names nothing that opens the vault"),
        (
            "key_file = \"vault.key\"",
            "key_file = \"a\"\npassphrase_file = \"b\"",
            22,
            "keys",
            "both",
        ),
        ("community/key.pem", "tls/key.pem", 16, "community[0].certificate", "TLS-02"),
        (
            "[keys]",
            "[admin]\naddress = \"127.0.0.1:8443\"\n[keys]",
            23,
            "admin.address",
            "where partners are served",
        ),
    ];
    for (from, to, line, key, message) in ROWS {
        assert!(GOOD.contains(from), "{from}");
        let found = faults(&GOOD.replacen(from, to, 1));
        let shown: Vec<String> = found.iter().map(|p| format!("{:?} {p}", p.line)).collect();
        let hit = found.iter().find(|problem| problem.key == *key);
        let hit = hit.unwrap_or_else(|| panic!("{from} → {to}: no fault of {key}: {shown:?}"));
        assert!(hit.to_string().contains(message), "{from} → {to}: {shown:?}");
        if *line > 0 {
            assert_eq!(hit.line, Some(*line), "{from} → {to}: {shown:?}");
        }
    }
}

#[test]
fn all_faults_are_said_at_once() {
    let text = GOOD
        .replace("address =", "adress =")
        .replace("[scopes]", "[scope]")
        .replace("allow_private = true", "allow_private = 1");
    let keys: BTreeSet<String> = faults(&text).into_iter().map(|problem| problem.key).collect();
    for key in ["listen.adress", "listen.address", "scope", "scopes", "upstream.allow_private"] {
        assert!(keys.contains(key), "{key} is not among {keys:?}");
    }
    let text = GOOD.replace("https://ward", "http://ward").replace("system/Patient.rs", "x");
    assert_eq!(faults(&text).len(), 2);
}

#[test]
fn what_is_no_toml_names_its_line() {
    for (text, line) in [("mode = \n", 1), ("mode = \"enforce\"\nx = [", 2), ("a = 1\na = 2", 2)] {
        let found = Config::parse(text).unwrap_err();
        assert_eq!(found[0].line, Some(line), "{text:?}: {found:?}");
    }
}

/// Found by the fuzzer: what stands in the file does not end a line of the message, or speak to the terminal.
#[test]
fn control_characters_of_the_file_are_spelt_out() {
    let text =
        GOOD.replace("\"enforce\"", r#""e\nforce\u001b[2J""#).replace("key_file", r#""a\nb""#);
    let said: Vec<_> = faults(&text).iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|one| one.starts_with(r#"`mode` is "e\nforce\u{1b}[2J""#)), "{said:?}");
    assert!(said.iter().any(|one| one.starts_with(r"`keys.a\nb` is no key")), "{said:?}");
    assert!(said.iter().all(|one| !one.contains(char::is_control)), "{said:?}");
}

#[test]
fn an_error_shows_file_line_and_key() {
    let dir = std::env::temp_dir().join(format!("ward-config-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("ward.toml");
    fs::write(&path, GOOD.replace("origin =", "orign =")).unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    let want = format!(
        "{}:5: `listen.orign` is no key that Ward knows; did you mean `origin`?",
        path.display()
    );
    assert!(error.contains(&want), "{error}");
    fs::write(&path, GOOD).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.listen.key, dir.join("tls/key.pem"), "relative to the file");
    fs::remove_dir_all(&dir).unwrap();
    let absent = Config::load(&path).unwrap_err().to_string();
    assert!(absent.contains("ward init"), "{absent}");
}

#[test]
fn what_a_reload_cannot_change_is_named() {
    let old = Config::parse(GOOD).unwrap();
    let new = GOOD
        .replace("8443", "9443")
        .replace("8080", "8081")
        .replace("[keys]", "[limits]\npage_max = 100\n[detection]\npatients = 7\n[keys]");
    let new = Config::parse(&new).unwrap();
    assert_eq!(old.needs_restart(&new), ["listen.address", "upstream", "limits.page_max"]);
    assert_eq!(old.needs_restart(&old), Vec::<String>::new());
}

/// `serde` and the table know the same keys.
#[test]
fn table_and_structures_agree() {
    fn known<T: serde::de::DeserializeOwned>() -> BTreeSet<String> {
        let error = match toml::Table::deserialize(toml::Deserializer::parse("zzz = 1").unwrap())
            .unwrap()
            .try_into::<T>()
        {
            Ok(_) => panic!("zzz is taken"),
            Err(error) => error.to_string(),
        };
        error
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| *name != "zzz")
            .map(ToOwned::to_owned)
            .collect()
    }
    fn names(section: &Section) -> BTreeSet<String> {
        section.fields.iter().map(|field| field.name.to_owned()).collect()
    }
    let section = |name: &str| {
        ROOT.fields
            .iter()
            .find_map(|field| match field.kind {
                Kind::Table(section) | Kind::Tables(section) if field.name == name => Some(section),
                _ => None,
            })
            .unwrap()
    };
    assert_eq!(known::<Config>(), names(&ROOT));
    assert_eq!(known::<Listen>(), names(section("listen")));
    assert_eq!(known::<Upstream>(), names(section("upstream")));
    assert_eq!(known::<Community>(), names(section("community")));
    let inside = section("community").fields.iter().find_map(|field| match field.kind {
        Kind::Tables(section) if field.name == "identity_provider" => Some(section),
        _ => None,
    });
    assert_eq!(known::<IdentityProvider>(), names(inside.unwrap()));
    assert_eq!(known::<Scopes>(), names(section("scopes")));
    assert_eq!(known::<Detection>(), names(section("detection")));
    assert_eq!(known::<Admin>(), names(section("admin")));
    assert_eq!(known::<Keys>(), names(section("keys")));
    assert_eq!(known::<Diagnostics>(), names(section("diagnostics")));
    assert_eq!(known::<Observe>(), names(section("observe")));
}

#[test]
fn the_committed_schema_is_the_one_of_this_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/ward.schema.json");
    if std::env::var_os("WARD_WRITE_SCHEMA").is_some() {
        fs::write(path, schema_text()).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == schema_text(),
        "write it anew: WARD_WRITE_SCHEMA=1 cargo test -p ward --lib committed_schema"
    );
}

#[test]
fn the_nearest_key_is_near() {
    use super::walk::nearest;
    let keys = ["address", "origin", "certificate", "key", "tls12"];
    for (wrong, right) in [
        ("adress", Some("address")),
        ("cert", Some("certificate")),
        ("TLS12", Some("tls12")),
        ("ke", Some("key")),
        ("colour", None),
    ] {
        assert_eq!(nearest(wrong, keys), right, "{wrong}");
    }
}

/// Deny by default: only the one word makes anything pass that a rule refuses.
#[test]
fn only_the_word_observe_observes() {
    use ward_policy::Caller;
    let read = |mode: &str, more: &str| {
        let text = GOOD.replacen("mode = \"enforce\"\n", mode, 1) + more;
        let config = Config::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(config.problems(), vec![], "{text}");
        let enforcement = config.enforcement();
        (
            enforcement.is_observing(),
            enforcement.waive(Caller::Anonymous, ["ROSTER"]).is_some(),
            enforcement.waive(Caller::Anonymous, ["RSV-02"]).is_some(),
        )
    };
    let clients = "[observe.clients]\nanonymous = \"enforce\"\n";
    let rules = "[observe.rules]\nROSTER = \"enforce\"\n";
    assert_eq!(read("", ""), (false, false, false), "no word at all");
    assert_eq!(read("mode = \"enforce\"\n", rules), (false, false, false));
    assert_eq!(read("mode = \"observe\"\n", ""), (true, true, true));
    assert_eq!(read("mode = \"observe\"\n", rules), (true, false, true));
    assert_eq!(read("mode = \"observe\"\n", clients), (true, false, false));
}

#[test]
fn faults_of_certifications_name_the_way_out() {
    let with = |tables: &str| {
        let text = GOOD.replace("[scopes]", &format!("{tables}\n[scopes]"));
        faults(&text).into_iter().map(|one| one.to_string()).collect::<Vec<_>>()
    };
    let table = |lines: &str| format!("[[community.certification]]\n{lines}\n");
    let gold = "uri = \"https://certifier.example/gold\"";
    assert_eq!(
        with(&table(&format!(
            "{gold}\nrequired = true\nanchors = \"certifiers.pem\"\ncertifiers = [\"https://certifier.example/\"]\nunlocks = [\"system/*.rs\"]"
        ))),
        Vec::<String>::new()
    );
    for (tables, key, way) in [
        (table("uri = \"gold\""), "certification[0].uri", "exactly as the programme does"),
        (table("required = true"), "certification[0].uri", "is missing"),
        (format!("{0}{0}", table(gold)), "certification[1].uri", "stands twice"),
        (
            table(&format!("{gold}\nunlock = []")),
            "certification[0].unlock",
            "did you mean `unlocks`?",
        ),
        (
            table(&format!("{gold}\nunlocks = [\"patient/*.rs\"]")),
            "certification[0].unlocks",
            "which is no system scope",
        ),
        (
            table(&format!("{gold}\nunlocks = [\"system/Patient.r\"]")),
            "certification[0].unlocks",
            "take these scopes out of scopes.supported",
        ),
        (
            table(&format!("{gold}\ndeclared = true\nanchors = \"x.pem\"")),
            "certification[0].declared",
            "a client's own word, or a third party's",
        ),
        (
            table(&format!("{gold}\ncertifiers = [\"someone\"]")),
            "certification[0].certifiers",
            "as it stands in its certificate",
        ),
    ] {
        let found = with(&tables);
        let fits = |one: &String| one.contains(key) && one.contains(way);
        assert!(found.iter().any(fits), "{key}: {found:?}");
    }
}
