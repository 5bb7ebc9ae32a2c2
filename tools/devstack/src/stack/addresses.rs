//! Where every part of a stack answers: ports that stay from one start to the next, and URLs made of them.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::plan::Plan;
use crate::ports::Ports;
use crate::services::{self, HostPort, ServicePorts};
use crate::{postgres, rabbitmq};

/// Addresses of the parts.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    pub(super) postgres: HostPort,
    pub(super) postgres_user: String,
    pub(super) redis: HostPort,
    pub(super) rabbitmq: HostPort,
    pub(super) rabbitmq_user: String,
    pub(super) distribution: u16,
    pub(super) mapper: u16,
    pub(super) smtp: HostPort,
    pub(super) mail: String,
    pub(super) mail_port: u16,
    pub(super) ingress: String,
    pub(super) ingress_port: u16,
    pub(super) kubelet: u16,
    pub(super) faults: u16,
    pub(super) control: u16,
    pub(super) killbill_port: u16,
    pub(super) killbill: String,
    pub(super) paynow: u16,
    pub(super) paynow_control: u16,
    pub(super) services: BTreeMap<String, ServicePorts>,
}

pub(super) fn choose_addresses(plan: &Plan) -> Result<Addresses> {
    let file = plan.layout.dir.join("ports.json");
    let mut ports =
        if plan.layout.is_of_the_developer() { Ports::load_well_known(&file) } else { Ports::load(&file) };
    let given = &plan.given;
    let mut place = |server: &Option<crate::given::Server>, name: &str| match server {
        Some(server) => Ok(server.at.clone()),
        None => ports.choose(name).map(HostPort::local),
    };
    let postgres = place(&given.postgres, "postgres")?;
    let redis = place(&given.redis, "redis")?;
    let rabbitmq = place(&given.rabbitmq, "rabbitmq")?;
    let mail_port = ports.choose("mail")?;
    let (smtp, mail) = match &given.mail {
        Some(mail) => (mail.smtp.clone(), mail.http.clone()),
        None => (HostPort::local(ports.choose("smtp")?), format!("http://127.0.0.1:{mail_port}")),
    };
    let ingress = match &given.cluster {
        Some(cluster) => cluster.ingress.clone(),
        None => format!("http://127.0.0.1:{}", ports.choose("ingress")?),
    };
    let ingress_port = ingress.rsplit_once(':').and_then(|(_, port)| port.trim_end_matches('/').parse().ok());
    let services = services::ALL
        .iter()
        .map(|service| {
            let http = ports.choose(&format!("{}-http", service.name))?;
            let admin =
                if service.is_public() { ports.choose(&format!("{}-admin", service.name))? } else { http };
            let grpc = ports.choose(&format!("{}-grpc", service.name))?;
            Ok((service.name.to_owned(), ServicePorts { http, admin, grpc }))
        })
        .collect::<Result<BTreeMap<_, _>>>()?;
    if services.len() != services::ALL.len() {
        bail!("two services have one name");
    }
    let killbill_port = ports.choose("killbill")?;
    let killbill = match &given.killbill {
        Some(given) => given.url.trim_end_matches('/').to_owned(),
        None => format!("http://127.0.0.1:{killbill_port}"),
    };
    let user = |server: &Option<crate::given::Server>, ours: &str| {
        server.as_ref().map_or(ours, |server| server.user.as_str()).to_owned()
    };
    Ok(Addresses {
        postgres_user: user(&given.postgres, postgres::SUPERUSER),
        rabbitmq_user: user(&given.rabbitmq, rabbitmq::USER),
        postgres,
        redis,
        rabbitmq,
        distribution: ports.choose("rabbitmq-distribution")?,
        mapper: ports.choose("epmd")?,
        smtp,
        mail,
        mail_port,
        ingress,
        ingress_port: ingress_port.unwrap_or(80),
        kubelet: ports.choose("kubelet")?,
        faults: ports.choose("faults")?,
        control: ports.choose("control")?,
        killbill_port,
        killbill,
        paynow: ports.choose("paynow")?,
        paynow_control: ports.choose("paynow-control")?,
        services,
    })
}

pub(super) fn url(scheme: &str, user: &str, password: &str, at: &HostPort, path: &str) -> String {
    format!("{scheme}://{}:{}@{}:{}/{path}", encoded(user), encoded(password), at.host, at.port)
}

/// Percent-encodes what a URL's user part cannot hold.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::given::Given;
    use crate::layout::Layout;
    use crate::stack::Extent;

    #[test]
    fn a_password_with_signs_survives_a_url() {
        let url = url("amqp", "u", "a/b@c:d", &HostPort::local(5), "v");
        assert_eq!(url, "amqp://u:a%2Fb%40c%3Ad@127.0.0.1:5/v");
    }

    #[test]
    fn a_second_start_keeps_all_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout {
            workspace: folder.path().to_owned(),
            dir: folder.path().to_owned(),
            programs: folder.path().to_owned(),
            cache: folder.path().to_owned(),
        };
        let plan = Plan {
            layout,
            durable: false,
            extent: Extent::All,
            keep_going: false,
            given: Given::default(),
            killbill: false,
            extra: BTreeMap::new(),
        };
        let (first, second) = (choose_addresses(&plan).unwrap(), choose_addresses(&plan).unwrap());
        assert_eq!((first.postgres, first.services), (second.postgres, second.services));
    }
}
