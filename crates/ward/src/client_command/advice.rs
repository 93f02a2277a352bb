//! What to do about an error of the library, beyond what the error itself says.

use ward_client::ClientError;
use ward_net::client::FetchError;
use ward_net::lists::{ListStatus, RevocationLists};
use ward_trust::{MetadataError, PathError};

use super::parts::Parts;

/// The way out, or nothing.
pub(super) fn advice(error: &ClientError, parts: &Parts) -> String {
    match error {
        ClientError::Fetch(FetchError::Refused(why)) if why.contains("public") => {
            "if you trust this network, give --allow-private=HOST:PORT for the server".to_owned()
        }
        ClientError::Fetch(FetchError::Connect(why)) if why.contains("certificate") => {
            "the server's TLS certificate is not trusted; give the PEM of its authority with --tls-ca"
                .to_owned()
        }
        ClientError::Fetch(_) => {
            "check the URL, that the server is up, and that this machine can reach it".to_owned()
        }
        ClientError::Metadata(MetadataError::Path(path)) => match path {
            PathError::Untrusted => {
                "give the community's own root with --anchor (and --intermediate, if the server leaves it out); \
                 if it is right, the server's certificate is of another community"
                    .to_owned()
            }
            _ => lists_in_trouble(&parts.lists),
        },
        ClientError::Refused { code, .. } if code == "invalid_client" => {
            "the server does not know this client id with this certificate, or has ended it: register again"
                .to_owned()
        }
        ClientError::Refused { code, .. } if code == "unapproved_software_statement" => {
            "the server does not trust this certificate: use one of a community that it serves".to_owned()
        }
        ClientError::Unapproved => {
            "if the server has mended its trust since, show it once more with --again".to_owned()
        }
        ClientError::Refused { code, .. } if code == "invalid_scope" => {
            "ask for scopes that the server lists (see `ward client discover`)".to_owned()
        }
        _ => String::new(),
    }
}

/// Which revocation lists could not be had, and why.
pub(super) fn lists_in_trouble(lists: &RevocationLists) -> String {
    lists.status().lists.iter().filter_map(list_in_trouble).collect::<Vec<_>>().join("\n")
}

/// What is wrong with a list, if something is.
pub(super) fn list_in_trouble(list: &ListStatus) -> Option<String> {
    if let Some(failure) = &list.failure {
        let hint = if failure.to_string().contains("egress refused") {
            "; if you trust it, give --allow-private=HOST:PORT for it"
        } else {
            ""
        };
        return Some(format!("revocation list {}: {failure}{hint}", list.url));
    }
    list.stale
        .then(|| format!("revocation list {} is past its nextUpdate; tell the community", list.url))
}
