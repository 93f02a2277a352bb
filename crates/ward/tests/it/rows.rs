//! Bad inputs as data: how a row of `tests/data/*.jsonl` becomes a JWT and a request.
//!
//! A row starts from a good request and says what differs. `claims` and `header` are merged (RFC 7386: null
//! removes); a string that starts with `=` is computed: `=now+301`, `=register`, `=token`, `=iss`, `=client`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::pki::Member;

/// One row.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Id in `udap.md` §7.
    pub id: String,
    /// What is wrong, for the reader.
    pub what: String,
    /// The status demanded.
    pub status: u16,
    /// The error code demanded; absent where the body has none.
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub method: Option<String>,
    #[serde(default)]
    pub content_type: Option<String>,
    #[serde(default)]
    pub headers: Map<String, Value>,
    #[serde(default)]
    pub body: Map<String, Value>,
    #[serde(default)]
    pub raw_body: Option<String>,
    #[serde(default)]
    pub form: Map<String, Value>,
    #[serde(default)]
    pub twice: Option<String>,
    #[serde(default)]
    pub claims: Map<String, Value>,
    #[serde(default)]
    pub raw_claims: Option<String>,
    #[serde(default)]
    pub header: Map<String, Value>,
    #[serde(default)]
    pub raw_header: Option<String>,
    #[serde(default)]
    pub member: Option<String>,
    #[serde(default)]
    pub signer: Option<String>,
    #[serde(default)]
    pub x5c: Option<String>,
    #[serde(default)]
    pub twist: Option<String>,
    #[serde(default)]
    pub again: bool,
    /// The rules of the community while the row is asked, by their name in `profiles.rs`; absent: the usual ones.
    #[serde(default)]
    pub rules: Option<String>,
}

/// Reads a table; every line is a row.
pub fn table(text: &str) -> Vec<Row> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect()
}

/// Words that rows can refer to.
pub struct Words {
    pub now: i64,
    pub register: String,
    pub token: String,
    pub base: String,
    pub iss: String,
    pub client: String,
}

impl Words {
    fn resolve(&self, value: &Value) -> Value {
        match value {
            Value::String(text) if text.starts_with('=') => self.word(&text[1..]),
            Value::Array(items) => items.iter().map(|item| self.resolve(item)).collect(),
            Value::Object(members) => {
                members.iter().map(|(name, item)| (name.clone(), self.resolve(item))).collect()
            }
            other => other.clone(),
        }
    }

    fn word(&self, word: &str) -> Value {
        if let Some(offset) = word.strip_prefix("now") {
            let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().unwrap() };
            return json!(self.now + offset);
        }
        if let Some(count) = word.strip_prefix("long:") {
            return json!("x".repeat(count.parse().unwrap()));
        }
        let (name, rest) = word.split_at(word.find(['/', '?', '#']).unwrap_or(word.len()));
        let text = match name {
            "register" => &self.register,
            "token" => &self.token,
            "base" => &self.base,
            "iss" => &self.iss,
            "client" => &self.client,
            "other-tenant" => &self.token.replace("/default/", "/other/"),
            "http-register" => &self.register.replacen("https:", "http:", 1),
            "http-token" => &self.token.replacen("https:", "http:", 1),
            other => panic!("unknown word {other}"),
        };
        json!(format!("{text}{rest}"))
    }

    /// Merges a patch (RFC 7386 at the first level) into `onto`.
    pub fn merge(&self, onto: &mut Value, patch: &Map<String, Value>) {
        let members = onto.as_object_mut().unwrap();
        for (name, value) in patch {
            if value.is_null() {
                members.remove(name);
            } else {
                members.insert(name.clone(), self.resolve(value));
            }
        }
    }

    /// Replaces `{word}` in raw text.
    pub fn fill(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for name in ["register", "token", "base", "iss", "client"] {
            out = out.replace(&format!("{{{name}}}"), self.word(name).as_str().unwrap());
        }
        for offset in [-400, -10, 0, 60, 120, 300] {
            out = out.replace(&format!("{{now{offset:+}}}"), &(self.now + offset).to_string());
        }
        out
    }
}

/// Signs the row's JWT: `member` shows its certificate, `signer` (usually the same) signs.
pub fn jwt(row: &Row, words: &Words, claims: Value, member: &Member, signer: &Member) -> String {
    let mut claims = claims;
    words.merge(&mut claims, &row.claims);
    let payload = match &row.raw_claims {
        Some(raw) => words.fill(raw),
        None => claims.to_string(),
    };
    let mut chain: Vec<Value> =
        member.chain.iter().map(|der| json!(STANDARD.encode(der))).collect();
    match row.x5c.as_deref() {
        None => {}
        Some("reversed") => chain.reverse(),
        Some("leaf-only") => chain.truncate(1),
        Some("base64url") => {
            chain = member.chain.iter().map(|der| json!(URL_SAFE_NO_PAD.encode(der))).collect();
        }
        Some("pem") => {
            chain = vec![json!(format!(
                "-----BEGIN CERTIFICATE-----{}-----END CERTIFICATE-----",
                STANDARD.encode(&member.chain[0])
            ))];
        }
        Some("trailing") => {
            let mut der = member.chain[0].clone();
            der.extend([5, 0]);
            chain[0] = json!(STANDARD.encode(der));
        }
        Some("line-breaks") => {
            let text = STANDARD.encode(&member.chain[0]);
            chain[0] = json!(
                text.as_bytes()
                    .chunks(64)
                    .map(String::from_utf8_lossy)
                    .collect::<Vec<_>>()
                    .join("\n")
            );
        }
        Some("sixteen-kib") => chain.push(json!(STANDARD.encode(vec![0x30; 16 * 1024 + 1]))),
        Some("eleven") => chain = vec![chain[0].clone(); 11],
        Some("junk-extra") => {
            chain.extend(signer.chain.iter().map(|der| json!(STANDARD.encode(der))));
        }
        Some("victim-first") => {
            chain = vec![
                json!(STANDARD.encode(&member.chain[0])),
                json!(STANDARD.encode(&signer.chain[0])),
            ];
        }
        Some(other) => panic!("unknown x5c {other}"),
    }
    let alg = signer.identity.alg();
    let mut header = json!({ "alg": alg.name(), "x5c": chain });
    words.merge(&mut header, &row.header);
    let header = match &row.raw_header {
        Some(raw) => raw.replace("{x5c}", &serde_json::to_string(&chain).unwrap()),
        None => header.to_string(),
    };
    let compact = signer.identity.sign_raw(alg, header.as_bytes(), payload.as_bytes()).unwrap();
    match row.twist.as_deref() {
        None => compact,
        Some(twist) => self::twist(&compact, twist, signer),
    }
}

fn twist(compact: &str, twist: &str, signer: &Member) -> String {
    let parts: Vec<&str> = compact.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    match twist {
        "flip-signature" => {
            let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
            bytes[10] ^= 1;
            format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(bytes))
        }
        "flip-payload" => {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
            let text = text.replacen("example", "exbmple", 1);
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(text))
        }
        "none" | "NoNe" | "None" => {
            let head = URL_SAFE_NO_PAD.encode(json!({ "alg": twist }).to_string());
            format!("{head}.{payload}.")
        }
        "empty-signature" => format!("{header}.{payload}."),
        "two" => format!("{header}.{payload}"),
        "four" => format!("{compact}.AAAA"),
        "five" => format!("{compact}.AAAA.AAAA"),
        "padding" => format!("{header}=.{payload}.{signature}"),
        "plus" => format!("{header}.{payload}.+{}", &signature[1..]),
        "trailing-bits" => {
            // The last character of a 64-octet signature carries four unused bits.
            let last = signature.chars().last().unwrap();
            let twisted = match last {
                'A' => 'B',
                'Q' => 'R',
                'g' => 'h',
                _ => 'x',
            };
            format!("{header}.{payload}.{}{twisted}", &signature[..signature.len() - 1])
        }
        "hs256" | "hs256-pem" => {
            let head = URL_SAFE_NO_PAD.encode(
                json!({ "alg": "HS256", "x5c": [STANDARD.encode(&signer.chain[0])] }).to_string(),
            );
            let input = format!("{head}.{payload}");
            let secret = match twist {
                "hs256" => signer.chain[0].clone(),
                _ => crate::place::pem(&signer.chain[..1]).into_bytes(),
            };
            let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
            let mac = aws_lc_rs::hmac::sign(&key, input.as_bytes());
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(mac))
        }
        "der" => {
            let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let int = |half: &[u8]| {
                let mut out = vec![2, u8::try_from(half.len()).unwrap() + 1, 0];
                out.extend_from_slice(half);
                out
            };
            let body = [int(&raw[..32]), int(&raw[32..])].concat();
            let mut der = vec![0x30, u8::try_from(body.len()).unwrap()];
            der.extend(body);
            format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(der))
        }
        "zero" | "zero-r" | "zero-s" => {
            let mut raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let half = raw.len() / 2;
            raw[..half].fill(u8::from(twist == "zero-s"));
            raw[half..].fill(u8::from(twist == "zero-r"));
            format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(raw))
        }
        other => panic!("unknown twist {other}"),
    }
}

/// `application/x-www-form-urlencoded`.
pub fn form(pairs: &[(String, String)]) -> String {
    let encode = |text: &str| {
        text.bytes()
            .map(|b| match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    char::from(b).to_string()
                }
                _ => format!("%{b:02X}"),
            })
            .collect::<String>()
    };
    pairs.iter().map(|(n, v)| format!("{}={}", encode(n), encode(v))).collect::<Vec<_>>().join("&")
}
