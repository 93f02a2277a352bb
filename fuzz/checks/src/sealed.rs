//! Sealed access tokens (house §4): one spelling, and none but ours opens.
//!
//! Input: a first octet of `t` is followed by a token; anything else by what a token shall say, and by
//! the place and manner of one alteration.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use ward_core::{
    BoxFuture, DataKey, GrantId, KeyId, KeyPurpose, KeyVault, Secret, SeededRng, TenantId,
    Timestamp, TokenId, VaultError,
};
use ward_issuer::sealed::{Claims, KeyBinding, MAX_CHARS, OpenError, Sealer};

use crate::{number, octet, ready};

/// One key, for ever.
struct Vault;

impl KeyVault for Vault {
    fn current<'a>(
        &'a self,
        _: &'a TenantId,
        _: KeyPurpose,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>> {
        Box::pin(async { Ok(DataKey { id: KeyId(3), key: Secret::new([7; 32]) }) })
    }

    fn by_id<'a>(
        &'a self,
        _: &'a TenantId,
        _: KeyPurpose,
        _: KeyId,
    ) -> BoxFuture<'a, Result<DataKey, VaultError>> {
        Box::pin(async { Err(VaultError::Unknown) })
    }

    fn destroy<'a>(
        &'a self,
        _: &'a TenantId,
        _: KeyPurpose,
    ) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(async { Ok(()) })
    }
}

fn sealer(audience: &str) -> Sealer {
    let rng = SeededRng::new(1);
    Sealer::new(
        TenantId::default_tenant(),
        "https://issuer.example",
        audience,
        Arc::new(Vault),
        &rng,
    )
}

/// Opens what a sealer with the same keys and boot id sealed, which is what the corpus has.
static SEALER: LazyLock<Sealer> = LazyLock::new(|| sealer("https://gw.example/fhir"));
static OTHER: LazyLock<Sealer> = LazyLock::new(|| sealer("https://other.example/fhir"));
/// The tokens of the corpus.
pub static SEALED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let maker = sealer("https://gw.example/fhir");
    let scopes = [None, Some("system/Patient.rs"), Some("system/*.rs")];
    (0_u8..)
        .zip(scopes)
        .map(|(n, scope)| ready(maker.seal(&claims(&mut &[n; 64][..], scope))).expect("sealed"))
        .collect()
});

fn claims(data: &mut &[u8], scope: Option<&str>) -> Claims {
    let mut sixteen = || std::array::from_fn(|_| octet(data));
    let (token, grant) = (TokenId::from_bytes(sixteen()), GrantId::from_bytes(sixteen()));
    let expires = Timestamp::from_seconds(i64::try_from(number(data)).unwrap_or(0) * 100_000);
    let binding = match octet(data) % 3 {
        0 => KeyBinding::None,
        1 => KeyBinding::Certificate(std::array::from_fn(|_| octet(data))),
        _ => KeyBinding::Dpop(std::array::from_fn(|_| octet(data))),
    };
    Claims { token, grant, expires, binding, scope: scope.map(str::to_owned) }
}

/// See the module.
pub fn check(mut data: &[u8]) -> bool {
    if let Some(text) = data.strip_prefix(b"t").and_then(|text| std::str::from_utf8(text).ok()) {
        let opened = ready(SEALER.open(text));
        match &opened {
            Ok(_) => assert!(SEALED.contains(text), "a forgery"),
            Err(error) => assert_eq!(*error, OpenError::Invalid),
        }
        return opened.is_ok();
    }
    let (place, manner) = (number(&mut data), octet(&mut data).max(1));
    let mut wanted = claims(&mut data, None);
    wanted.scope =
        std::str::from_utf8(data).ok().filter(|text| !text.is_empty()).map(str::to_owned);
    let Ok(token) = ready(SEALER.seal(&wanted)) else { return false };
    assert!(
        token.len() <= MAX_CHARS
            && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    );
    assert_eq!(ready(SEALER.open(&token)), Ok(wanted));
    assert_eq!(ready(OTHER.open(&token)), Err(OpenError::Invalid));
    let mut altered = token.into_bytes();
    let place = place % altered.len();
    altered[place] ^= manner & 0x7f;
    if manner & 0x7f != 0
        && let Ok(altered) = String::from_utf8(altered)
    {
        assert_eq!(ready(SEALER.open(&altered)), Err(OpenError::Invalid));
    }
    true
}
