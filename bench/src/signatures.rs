//! What the signature operations cost by themselves, on one core, in the same run.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};

use crate::{Error, moment};

/// Microseconds each.
pub struct Costs {
    pub rs256_sign: f64,
    pub rs256_verify: f64,
    pub es256_sign: f64,
    pub es256_verify: f64,
    pub es384_verify: f64,
}

impl Costs {
    /// Of verifying one JWT with this algorithm.
    pub fn verify(&self, alg: &str) -> f64 {
        match alg {
            "RS256" => self.rs256_verify,
            "ES384" => self.es384_verify,
            _ => self.es256_verify,
        }
    }
}

/// A typical signing input.
const MESSAGE: [u8; 2048] = [0x5a; 2048];

/// CPU time of this thread so far, microseconds: what others do on the machine in the meantime does not count.
fn cpu() -> Result<f64, Error> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split_whitespace().next().ok_or("no time")?;
    Ok(nanoseconds.parse::<f64>()? / 1e3)
}

fn each(mut work: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let (mut times, begun, before) = (0_u32, moment(), cpu()?);
    while begun.elapsed().as_millis() < 500 {
        work()?;
        times += 1;
    }
    Ok((cpu()? - before) / f64::from(times))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the raw operation of the library is what is measured"
)]
pub fn measure() -> Result<Costs, Error> {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let mut signature = vec![0; rsa.public_modulus_len()];
    rsa.sign(&RSA_PKCS1_SHA256, &random, &MESSAGE, &mut signature)?;
    let rsa_key =
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, rsa.public_key().as_ref().to_vec());
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)?;
    let ecdsa = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref())?;
    let ec_signature = ecdsa.sign(&random, &MESSAGE)?;
    let ec_key =
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, ecdsa.public_key().as_ref().to_vec());
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &random)?;
    let larger = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8.as_ref())?;
    let larger_signature = larger.sign(&random, &MESSAGE)?;
    let larger_key =
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, larger.public_key().as_ref().to_vec());
    let mut scratch = signature.clone();
    Ok(Costs {
        rs256_sign: each(|| Ok(rsa.sign(&RSA_PKCS1_SHA256, &random, &MESSAGE, &mut scratch)?))?,
        rs256_verify: each(|| Ok(rsa_key.verify(&MESSAGE, &signature)?))?,
        es256_sign: each(|| ecdsa.sign(&random, &MESSAGE).map(drop).map_err(Error::from))?,
        es256_verify: each(|| Ok(ec_key.verify(&MESSAGE, ec_signature.as_ref())?))?,
        es384_verify: each(|| Ok(larger_key.verify(&MESSAGE, larger_signature.as_ref())?))?,
    })
}
