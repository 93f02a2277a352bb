//! The way in which a statement is verified is chosen by its issuer (§8.20): another kind brings whose it is, and the rest of
//! a registration is the same; a kind that nobody built is refused, and so is a statement that nobody can verify.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::pki::OTHER_URI;
use super::*;
use crate::errors::{Answer as Row, Refusal};
use crate::issuer::Exchange;
use crate::statements::{Proven, Verifier};

/// A third party that vouches for whatever carries its word, for the member A with [`CLIENT_URI`].
struct ByWord;

impl Verifier for ByWord {
    fn prove<'a>(
        &'a self,
        issuer: &'a Issuer,
        compact: &'a str,
        _exchange: Exchange,
    ) -> BoxFuture<'a, Result<Proven, Refusal>> {
        Box::pin(async move {
            let refused = || Refusal::new(Row::InvalidSoftwareStatement, "WORD");
            let payload = compact
                .strip_prefix("word.")
                .and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok())
                .ok_or_else(refused)?;
            let Ok(Value::Object(claims)) = serde_json::from_slice(&payload) else {
                return Err(refused());
            };
            let served = issuer.served().first().cloned().ok_or_else(refused)?;
            let certificate = PKI.client.identity.leaf().clone();
            let sent = vec![PKI.a.intermediate.clone()];
            let paths = &issuer.deps.paths;
            let chain = paths
                .path(&certificate, &sent, &served.community, Duration::ZERO)
                .await
                .map_err(|_| refused())?;
            Ok(Proven { served, certificate, sent, chain, claims })
        })
    }
}

fn world() -> World {
    let mut world = World::new();
    let issuer = Arc::get_mut(&mut world.issuer).unwrap();
    issuer.verifiers.kinds.insert("word", Arc::new(ByWord));
    issuer.verifiers.issuers.insert(CLIENT_URI.into(), "word".into());
    issuer.verifiers.issuers.insert(OTHER_URI.into(), "cms-jwks".into());
    world
}

fn by_word(claims: &Map<String, Value>) -> String {
    format!("word.{}", URL_SAFE_NO_PAD.encode(Value::Object(claims.clone()).to_string()))
}

#[tokio::test]
async fn another_kind_needs_nothing_else_to_be_registered() {
    let world = world();
    let answer = world.register(&envelope(&by_word(&statement(CLIENT_URI)))).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let client = answer.text("client_id");
    world.issued(&PKI.client, &client, "system/Patient.rs").await;
    // All that follows is the same: parameters, replay, cancellation.
    let mut claims = statement(CLIENT_URI);
    claims.remove("contacts");
    let answer = world.register(&envelope(&by_word(&claims))).await;
    answer.refuses("P11", 400, "invalid_client_metadata");
    let mut claims = statement("https://partner.test/not-its-own");
    claims["iss"] = json!(CLIENT_URI);
    world.register(&envelope(&by_word(&claims))).await.refuses(
        "R28",
        400,
        "invalid_software_statement",
    );
    let mut claims = statement(CLIENT_URI);
    claims["grant_types"] = json!([]);
    let once = by_word(&claims);
    assert_eq!(world.register(&envelope(&once)).await.status, 200);
    world.register(&envelope(&once)).await.refuses("R37", 400, "invalid_software_statement");
}

#[tokio::test]
async fn an_issuer_with_a_way_of_its_own_goes_no_other() {
    let world = world();
    // Good in UDAP's own way, and not of the kind that its issuer is held to.
    let answer = world.statement(&PKI.client, &statement(CLIENT_URI)).await;
    answer.refuses("WORD", 400, "invalid_software_statement");
    // The other way round: nobody else may use that kind.
    let answer = world.register(&envelope(&by_word(&statement(pki::RSA_URI)))).await;
    answer.refuses("R07", 400, "invalid_software_statement");
    // Others are as before.
    assert_eq!(world.statement(&PKI.rsa, &statement(pki::RSA_URI)).await.status, 201);
}

#[tokio::test]
async fn an_unknown_kind_is_refused() {
    let world = world();
    let answer = world.statement(&PKI.other, &statement(OTHER_URI)).await;
    answer.refuses("KIND", 400, "unapproved_software_statement");
    // A statement signed in a way that nobody here verifies: a key set instead of a certificate.
    let header = json!({ "alg": "ES256", "kid": "1", "jku": "http://127.0.0.1:1/keys" });
    let payload = Value::Object(statement(pki::RSA_URI)).to_string();
    let compact = sign_raw(&PKI.rsa, &header, &payload);
    let answer = World::new().register(&envelope(&compact)).await;
    answer.refuses("R16", 400, "invalid_software_statement");
}
