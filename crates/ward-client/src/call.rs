//! Calls of the FHIR API with a token, which never leaves the base that it was issued for.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};

use crate::PartnerClient;
use crate::error::ClientError;
use crate::token::Token;

impl PartnerClient {
    /// `GET {base}{path}`; the path begins with `/` and may have a query. Any status is an answer.
    pub async fn get(
        &self,
        base: &str,
        path: &str,
        token: &Token,
    ) -> Result<Response<Bytes>, ClientError> {
        if base != token.base {
            return Err(ClientError::OtherBase);
        }
        // Nothing but a slash may follow the base, or `.evil.example` would continue its host.
        if !path.starts_with('/') {
            return Err(ClientError::Local { what: "a path begins with a slash", rule: "CLI-24" });
        }
        let bad = |_| ClientError::Local { what: "the path is not well-formed", rule: "CLI-24" };
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| {
                ClientError::Answer { what: "the token does not fit into a header", rule: "TOK-17" }
            })?;
        bearer.set_sensitive(true);
        let request = Request::get(format!("{}{path}", base.trim_end_matches('/')))
            .header(header::AUTHORIZATION, bearer)
            .header(header::ACCEPT, "application/fhir+json")
            .body(Bytes::new())
            .map_err(bad)?;
        let limits = &self.config.limits;
        let response = self
            .config
            .http
            .send(request, limits.upstream_body_bytes, limits.upstream_timeout)
            .await?;
        if response.status() == http::StatusCode::UNAUTHORIZED {
            self.forget(token);
        }
        Ok(response)
    }
}
