//! The tables: ratios first, absolute figures second.

use std::fmt::Write as _;

use crate::load::Outcome;
use crate::signatures::Costs;

/// The same load on both.
pub struct Pair {
    pub work: &'static str,
    pub connections: usize,
    pub ward: Outcome,
    pub nginx: Outcome,
}

impl Pair {
    pub fn line(&self) -> String {
        let of = |one: &Outcome| {
            format!(
                "{:.0}/s p50 {:.0} µs p99 {:.0} µs cpu {:.1} µs",
                one.rate(),
                one.quantile(0.5),
                one.quantile(0.99),
                one.cpu_each()
            )
        };
        format!(
            "{} × {}: ward {}; nginx {}",
            self.work,
            self.connections,
            of(&self.ward),
            of(&self.nginx)
        )
    }
}

pub struct Report {
    pub machine: String,
    pub nginx: String,
    pub load: (String, String),
    pub seconds: f64,
    pub records: usize,
    pub bytes: (usize, usize),
    /// Before and after: median and p99, microseconds.
    pub fsync: [(f64, f64); 2],
    pub starts: Vec<f64>,
    pub idle: f64,
    pub pairs: Vec<Pair>,
    pub endpoints: Vec<(&'static str, &'static str, Outcome)>,
    pub costs: Costs,
}

/// The signature operations that one request cannot do without: the JWT by the key of its leaf, the leaf
/// by the issuing authority and that by the root (both P-256 here).
fn floor(alg: &str, costs: &Costs) -> f64 {
    costs.verify(alg) + 2.0 * costs.es256_verify
}

impl Report {
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.ratios(&mut out);
        self.absolutes(&mut out);
        out
    }

    fn ratios(&self, out: &mut String) {
        let _ = writeln!(out, "### Ward as a multiple of nginx\n");
        let _ = writeln!(
            out,
            "| work | connections | CPU a request | requests/s | p50 | p99 |\n|---|---|---|---|---|---|"
        );
        for Pair { work, connections, ward, nginx } in &self.pairs {
            let ratio = |f: &dyn Fn(&Outcome) -> f64| f(ward) / f(nginx);
            let _ = writeln!(
                out,
                "| {work} | {connections} | **{:.2} ×** | {:.2} × | {:.2} × | {:.2} × |",
                ratio(&Outcome::cpu_each),
                ratio(&Outcome::rate),
                ratio(&|o| o.quantile(0.5)),
                ratio(&|o| o.quantile(0.99)),
            );
        }
        let median_fsync = (self.fsync[0].0 + self.fsync[1].0) / 2.0;
        let added = self
            .pairs
            .first()
            .map_or(f64::NAN, |pair| pair.ward.quantile(0.5) - pair.nginx.quantile(0.5));
        let start = self.starts.get(self.starts.len() / 2).copied().unwrap_or(f64::NAN);
        let worst = |work: &str| {
            let of = self.pairs.iter().filter(|pair| pair.work == work);
            of.map(|pair| pair.ward.cpu_each() / pair.nginx.cpu_each()).fold(0.0, f64::max)
        };
        let verdict = |good: bool| if good { "met" } else { "**not met**" };
        let _ = writeln!(out, "\n### Against the aims\n\n| aim | measured | |\n|---|---|---|");
        let bound = 1.5 * median_fsync + 100.0;
        let _ = writeln!(
            out,
            "| CPU a small read at most 3 × nginx | {:.2} × at worst | {} |",
            worst("read"),
            verdict(worst("read") <= 3.0)
        );
        let _ = writeln!(
            out,
            "| added p50 at one connection at most 1.5 × fsync + 0.1 ms = {bound:.0} µs | {added:.0} µs (fsync {median_fsync:.0} µs) | {} |",
            verdict(added <= bound)
        );
        let _ = writeln!(
            out,
            "| start-up to first answer under 150 ms | {start:.0} ms | {} |",
            verdict(start < 150.0)
        );
        let _ = writeln!(
            out,
            "| idle memory under 60 MB | {:.1} MiB | {} |",
            self.idle,
            verdict(self.idle < 57.2)
        );
        let _ = writeln!(
            out,
            "\n### Tokens and registrations, on one core, as a share of their signature operations\n"
        );
        let _ = writeln!(
            out,
            "| request | JWT | a second and core | bound by signatures alone | share |\n|---|---|---|---|---|"
        );
        for (what, alg, outcome) in &self.endpoints {
            let bound = 1e6 / floor(alg, &self.costs);
            let rate = 1e6 / outcome.cpu_each();
            let _ = writeln!(
                out,
                "| {what} | {alg} | {rate:.0} | {bound:.0} | {:.0} % |",
                100.0 * rate / bound
            );
        }
    }

    fn absolutes(&self, out: &mut String) {
        let _ = writeln!(out, "\n### Absolute figures of this run\n");
        let _ = writeln!(
            out,
            "{}; {}; load average before {} and after {}; {:.0} s a cell; upstream with {} records; a read is {} octets, a search {}.\n",
            self.machine,
            self.nginx,
            self.load.0,
            self.load.1,
            self.seconds,
            self.records,
            self.bytes.0,
            self.bytes.1
        );
        let _ = writeln!(
            out,
            "| work | conn. | server | requests/s | p50 µs | p99 µs | CPU µs a request | upstream's CPU µs | memory MiB |\n|---|---|---|---|---|---|---|---|---|"
        );
        for pair in &self.pairs {
            for (name, one) in [("ward", &pair.ward), ("nginx", &pair.nginx)] {
                let _ = writeln!(
                    out,
                    "| {} | {} | {name} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} |",
                    pair.work,
                    pair.connections,
                    one.rate(),
                    one.quantile(0.5),
                    one.quantile(0.99),
                    one.cpu_each(),
                    one.upstream_each(),
                    one.rss
                );
            }
        }
        let [before, after] = self.fsync;
        let _ = writeln!(
            out,
            "\nfsync of the log's volume (1 KiB appended): median {:.0} µs, p99 {:.0} µs before; {:.0} µs, {:.0} µs after.",
            before.0, before.1, after.0, after.1
        );
        let starts: Vec<_> = self.starts.iter().map(|ms| format!("{ms:.0}")).collect();
        let _ = writeln!(
            out,
            "Start-up to first answer, ms: {}. Idle memory: {:.1} MiB.",
            starts.join(", "),
            self.idle
        );
        let Costs { rs256_sign, rs256_verify, es256_sign, es256_verify, .. } = self.costs;
        let _ = writeln!(
            out,
            "Signature operations, µs: RS256 (2048) sign {rs256_sign:.0}, verify {rs256_verify:.0}; ES256 sign {es256_sign:.0}, verify {es256_verify:.0}."
        );
        let _ = writeln!(
            out,
            "\n| request | JWT | a second, 16 connections | p50 µs | p99 µs | CPU µs each |\n|---|---|---|---|---|---|"
        );
        for (what, alg, one) in &self.endpoints {
            let _ = writeln!(
                out,
                "| {what} | {alg} | {:.0} | {:.0} | {:.0} | {:.0} |",
                one.rate(),
                one.quantile(0.5),
                one.quantile(0.99),
                one.cpu_each()
            );
        }
    }
}
