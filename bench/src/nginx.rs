//! The baseline: Debian's nginx as a plain TLS 1.3 reverse proxy, with keep-alive to the upstream, buffers
//! that hold the answers, and no access log.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Error;

pub struct Nginx(Child);

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

impl Nginx {
    pub fn start(
        dir: &Path,
        port: u16,
        upstream: &str,
        tls: &(Vec<Vec<u8>>, Vec<u8>),
    ) -> Result<Self, Error> {
        fs::create_dir_all(dir)?;
        let chain: String = tls.0.iter().map(|der| pem("CERTIFICATE", der)).collect();
        fs::write(dir.join("chain.pem"), chain)?;
        fs::write(dir.join("key.pem"), pem("PRIVATE KEY", &tls.1))?;
        let authority = upstream.split_once("://").map_or(upstream, |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or(authority);
        let at = dir.display();
        let text = format!(
            "daemon off; master_process on; worker_processes auto; pid {at}/nginx.pid; error_log {at}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
  keepalive_requests 100000000; tcp_nodelay on;
  upstream fhir {{ server {authority}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} ssl; server_name localhost;
    ssl_certificate {at}/chain.pem; ssl_certificate_key {at}/key.pem; ssl_protocols TLSv1.3;
    location / {{ proxy_pass http://fhir; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffer_size 16k; proxy_buffers 32 16k; proxy_busy_buffers_size 64k; }}
  }}
}}
"
        );
        let path = dir.join("nginx.conf");
        fs::write(&path, text)?;
        let child = Command::new("nginx")
            .arg("-p")
            .arg(dir)
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!("nginx: {error}; install Debian's package (`just bench` does)")
            })?;
        Ok(Self(child))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn version() -> String {
        let output = Command::new("nginx").arg("-v").output();
        output.map_or_else(
            |_| "nginx".into(),
            |output| String::from_utf8_lossy(&output.stderr).trim().replace("nginx version: ", ""),
        )
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master passes it on to its workers.
        let _ = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}
