//! `ward community authority`: new certificates and new keys for the community's own authorities, and the next root.

use ward_community::{Authority, Operator};
use ward_trust::Certificate;

use super::Result;
use super::args::AuthorityAct;
use super::place::Home;
use crate::house::System;
use crate::ui::Ui;

pub(super) async fn run(ui: Ui, act: &AuthorityAct, system: &System) -> Result<()> {
    let home = match act {
        AuthorityAct::Renew(options)
        | AuthorityAct::Rekey(options)
        | AuthorityAct::NextRoot(options) => Home::new(&options.place, Some(&options.root), system),
        AuthorityAct::Revoke(options) => Home::new(&options.place, Some(&options.root), system),
        AuthorityAct::RetireRoot(options) => Home::new(&options.place, None, system),
    };
    home.act(async |operator| {
        let until = |made: &Certificate| made.not_after().to_rfc3339();
        match act {
            AuthorityAct::Renew(_) => {
                let made = operator.renew_issuing().await?;
                ui.line(&format!("issuing authority renewed, good until {}", until(&made)));
            }
            AuthorityAct::Rekey(_) => {
                let made = operator.rekey_issuing().await?;
                operator.keep_responder().await?;
                let id = newest(operator, Authority::Issuing);
                ui.line(&format!("{id} signs members from now on, good until {}", until(&made)));
                ui.line("the former signs its list until the last of its certificates has ended");
            }
            AuthorityAct::Revoke(options) => {
                let ended = operator.revoke_issuing(options.name).await?;
                ui.line(&format!(
                    "{} revoked: {ended} certificates of members ended with it",
                    options.name
                ));
                ui.line("they keep their keys: renew each with ward community renew");
            }
            AuthorityAct::NextRoot(_) => {
                let made = operator.next_root().await?;
                let id = newest(operator, Authority::Root);
                ui.line(&format!("{id} made, good until {}", until(&made)));
                ui.line(&format!("its thumbprint {}", made.thumbprint()));
                ui.line("its key lies with the present root's: take both offline again");
            }
            AuthorityAct::RetireRoot(_) => {
                operator.retire_root().await?;
                let id = newest(operator, Authority::Root);
                ui.line(&format!("{id} is the only root now"));
            }
        }
        home.write_authorities(operator)?;
        if let Some(signed) = operator.renew_bundle().await? {
            super::bundle::say(ui, signed.bundle());
        }
        Ok(())
    })
    .await
}

fn newest(operator: &Operator, of: Authority) -> String {
    let mut all = operator.authorities().into_iter();
    all.find(|id| id.of == of).map(|id| id.to_string()).unwrap_or_default()
}
