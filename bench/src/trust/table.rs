//! The page that is printed: ratios first.

use std::fmt::Write as _;

use super::cells::{CONNECTIONS, Cell, Cells};
use super::fill::Size;
use super::partners::Coming;
use crate::load::Outcome;
use crate::signatures::Costs;

pub struct Page {
    pub machine: String,
    pub load: (String, String),
    /// Before and after the cells.
    pub costs: [Costs; 2],
    pub cells: Cells,
    pub coming: Coming,
    pub growth: Vec<Size>,
}

impl Page {
    fn cost(&self, of: impl Fn(&Costs) -> f64) -> f64 {
        let [before, after] = &self.costs;
        f64::midpoint(of(before), of(after))
    }

    /// The JWT alone, and with the leaf by the issuing authority and that by the root, both P-256: microseconds.
    fn bounds(&self, alg: &str) -> (f64, f64) {
        let jwt = self.cost(|costs| costs.verify(alg));
        (jwt, jwt + 2.0 * self.cost(|costs| costs.es256_verify))
    }

    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.shares(&mut out);
        self.grown(&mut out);
        self.finance(&mut out);
        out
    }

    fn shares(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "{}; load average before {} and after {}.\n\nSignature operations, µs: RS256 verify {:.0}, ES256 verify {:.0}, ES384 verify {:.0}, RS256 (2048) sign {:.0}.\n",
            self.machine,
            self.load.0,
            self.load.1,
            self.cost(|costs| costs.rs256_verify),
            self.cost(|costs| costs.es256_verify),
            self.cost(|costs| costs.es384_verify),
            self.cost(|costs| costs.rs256_sign),
        );
        let _ = writeln!(
            out,
            "### One core, as a share of what signatures alone allow ({CONNECTIONS} connections)\n\n| request | JWT | chain | a second and core | bound: JWT and chain | share | bound: JWT alone | share | p50 µs | p99 µs |\n|---|---|---|---|---|---|---|---|---|---|"
        );
        for Cell { what, alg, warm, outcome } in &self.cells.cells {
            let (jwt, all) = self.bounds(alg);
            let rate = 1e6 / outcome.cpu_each();
            let alone = if *warm {
                format!("{:.0} | {:.2}", 1e6 / jwt, rate * jwt / 1e6)
            } else {
                "– | –".to_owned()
            };
            let _ = writeln!(
                out,
                "| {what} | {alg} | {} | {rate:.0} | {:.0} | **{:.2}** | {alone} | {:.0} | {:.0} |",
                if *warm { "warm" } else { "cold" },
                1e6 / all,
                rate * all / 1e6,
                outcome.quantile(0.5),
                outcome.quantile(0.99),
            );
        }
        let metadata = &self.cells.metadata;
        let (rate, sign) = (1e6 / metadata.cpu_each(), self.cost(|costs| costs.rs256_sign));
        let _ = writeln!(
            out,
            "| signed metadata | RS256 | kept | {rate:.0} | {:.0} if each were signed | **{:.1}** | – | – | {:.0} | {:.0} |",
            1e6 / sign,
            rate * sign / 1e6,
            metadata.quantile(0.5),
            metadata.quantile(0.99),
        );
    }

    fn grown(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "\n### Growth, against the smallest\n\n| clients | live `jti`s | token, CPU | token, p50 | registration, CPU | registration, p50 | memory MiB | store MiB | filled in |\n|---|---|---|---|---|---|---|---|---|"
        );
        let Some(smallest) = self.growth.first() else { return };
        for size in &self.growth {
            let ratio = |of: &dyn Fn(&Outcome) -> f64, what: &dyn Fn(&Size) -> Outcome| {
                of(&what(size)) / of(&what(smallest))
            };
            let (cpu, p50) = (|one: &Outcome| one.cpu_each(), |one: &Outcome| one.quantile(0.5));
            let (tokens, registrations) =
                (|size: &Size| size.tokens.clone(), |size: &Size| size.registrations.clone());
            let _ = writeln!(
                out,
                "| {} | {} | {:.2} × ({:.0} µs) | {:.2} × | {:.2} × ({:.0} µs) | {:.2} × | {:.0} | {:.0} | {:.0} s |",
                size.clients,
                size.jtis,
                ratio(&cpu, &tokens),
                size.tokens.cpu_each(),
                ratio(&p50, &tokens),
                ratio(&cpu, &registrations),
                size.registrations.cpu_each(),
                ratio(&p50, &registrations),
                size.memory,
                size.disk,
                size.seconds,
            );
        }
    }

    fn finance(&self, out: &mut String) {
        let Coming { first, each, seconds, steps } = &self.coming;
        let mut sorted = each.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let index = (sorted.len() as f64 * part) as usize;
            sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
        };
        let count = each.len().max(1) as f64;
        let [certificate, discovery, registration, token, data] = steps.map(|sum| sum / count);
        let _ = writeln!(
            out,
            "\n### From \"never heard of each other\" to first data\n\n| partners | manual acts | in all | one: median | p99 |\n|---|---|---|---|---|\n| 1 | 0 | {first:.0} ms | | |\n| {} in a row | 0 | {seconds:.1} s | {:.1} ms | {:.1} ms |\n",
            each.len(),
            at(0.5),
            at(0.99),
        );
        let _ = writeln!(
            out,
            "Of which, mean: certificate {certificate:.1} ms, discovery {discovery:.1} ms, registration {registration:.1} ms, token {token:.1} ms, first record {data:.1} ms."
        );
    }
}
