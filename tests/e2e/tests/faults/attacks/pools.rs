//! A tenant against its pool: the rights of the administrator, the neighbours' service, its own end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::databases::{BASE, PATIENCE, place, pool, psql, purge, rotate, succeeded};
use e2e::{Customer, Stack, Tenant, tenant};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use test_kit::eventually;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How soon neighbours are served again whatever a tenant holds.
const SOON: Duration = Duration::from_secs(45);

/// Names that administrators' statements use, with arguments that fit better than those of the real ones.
const TRAPS: &str = r#"
    CREATE FUNCTION public.trap() RETURNS void LANGUAGE plpgsql AS $$BEGIN
        IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
            EXECUTE 'ALTER ROLE "ROLE" SUPERUSER';
        END IF;
    END$$;
    CREATE FUNCTION public.quote_ident(name) RETURNS text LANGUAGE plpgsql AS
        $$BEGIN PERFORM public.trap(); RETURN pg_catalog.quote_ident($1::text); END$$;
    CREATE FUNCTION public.rtrim(text, text) RETURNS text LANGUAGE plpgsql AS
        $$BEGIN PERFORM public.trap(); RETURN pg_catalog.rtrim($1, $2); END$$;
    CREATE FUNCTION public.name_is(name, text) RETURNS boolean LANGUAGE plpgsql AS
        $$BEGIN PERFORM public.trap(); RETURN $1::text OPERATOR(pg_catalog.=) $2; END$$;
    CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.name_is);
    CREATE TABLE public.bait (id integer);
    INSERT INTO public.bait VALUES (1);
    CREATE FUNCTION public.fixed(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS
        $$BEGIN PERFORM public.trap(); RETURN $1; END$$;
    CREATE INDEX ON public.bait (public.fixed(1));
"#;

async fn is_healthy(admin: &Customer, name: &str) {
    eventually("a healthy pool", PATIENCE, || async {
        let _ = admin.post(&format!("{BASE}/admin/pools/{name}/health-check"), json!({})).await;
        (pool(admin, name).await?["health_status"] == "healthy").then_some(())
    })
    .await;
}

async fn is_no_superuser(stack: &Stack, tenant: &Tenant) -> anyhow::Result<()> {
    let rose = "SELECT string_agg(rolname, ',') FROM pg_roles
        WHERE rolsuper AND rolname NOT IN ('postgres', 'pool_admin')";
    let rose = psql(stack, &tenant.pool, "postgres", rose).await?;
    ensure!(rose.is_empty(), "superusers by now: {rose}");
    Ok(())
}

/// SEC-01, DBS-29: traps that wait in a tenant's database for the administrator run with nobody's rights: not
/// when the rights of the pool are set anew, not at a change of the password.
#[tokio::test]
async fn traps_in_a_tenants_database_run_with_nobodys_rights() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let admin = Customer::admin(&stack).await?;
    let (customer, tenant) = super::tenant(&stack, &admin, "traps").await?;
    for trap in TRAPS.replace("ROLE", &tenant.role).split(";\n    CREATE ") {
        let statement =
            if trap.trim_start().starts_with("CREATE") { trap.to_owned() } else { format!("CREATE {trap}") };
        tenant.sql(&statement).await.with_context(|| statement.clone())?;
    }

    psql(&stack, &tenant.pool, "postgres", "COMMENT ON SCHEMA platform IS NULL").await?;
    is_healthy(&admin, &tenant.pool).await;
    is_no_superuser(&stack, &tenant).await?;

    let task = rotate(&admin, &tenant.instance).await?;
    succeeded(&admin, &task).await;
    customer.until(&tenant.instance, "running").await?;
    is_no_superuser(&stack, &tenant).await
}

/// DBS-29: one session fills the table of locks and stays open; neighbours log in soon all the same.
#[tokio::test]
async fn a_session_that_holds_all_locks_is_ended() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let admin = Customer::admin(&stack).await?;
    let (_a, greedy) = super::tenant(&stack, &admin, "locks").await?;
    let (_b, neighbour) = super::tenant(&stack, &admin, "beside").await?;
    ensure!(greedy.pool == neighbour.pool, "they are on two pools");
    let locks = "SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 2000000) AS g";
    let held = greedy.hold(&greedy.database, locks).await?;

    // The session itself is ended; before that a neighbour's log-in proves nothing.
    tokio::time::timeout(SOON, held.ended()).await.context("the session is still there")??;
    eventually("the neighbour logs in", SOON, || async { neighbour.sql("SELECT 1").await.ok() }).await;
    Ok(())
}

/// A log-in that says who it is and then nothing more; `None` when the server has no slot for it.
async fn half_log_in(stack: &Stack, pool: &str, tls: &TlsConnector) -> Option<TlsStream<TcpStream>> {
    let mut stream = tenant::socket(stack, pool).await.ok()?;
    stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).await.ok()?;
    (stream.read_u8().await.ok()? == b'S').then_some(())?;
    let name = ServerName::try_from(format!("{pool}.saasodoo.svc.cluster.local")).ok()?;
    let mut session = tls.connect(name, stream).await.ok()?;
    let words = b"user\0nobody_at_all\0database\0postgres\0\0";
    session.write_i32(i32::try_from(words.len()).ok()? + 8).await.ok()?;
    session.write_i32(196_608).await.ok()?;
    session.write_all(words).await.ok()?;
    session.flush().await.ok()?;
    (session.read_u8().await.ok()? == b'R').then_some(session)
}

/// DBS-29: log-ins of nobody, held open without any credentials, keep the pool for seconds, not for ever.
#[tokio::test]
async fn half_log_ins_keep_nobody_out_for_long() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let admin = Customer::admin(&stack).await?;
    let (_a, neighbour) = super::tenant(&stack, &admin, "half").await?;
    let tls = connector(&stack, &neighbour.pool).await?;

    let mut held = Vec::new();
    while held.len() < 600 {
        let more =
            futures::future::join_all((0..24).map(|_| half_log_in(&stack, &neighbour.pool, &tls))).await;
        let refused = more.iter().any(Option::is_none);
        held.extend(more.into_iter().flatten());
        if refused {
            break;
        }
    }
    ensure!(held.len() > 20, "only {} log-ins began", held.len());

    eventually("the neighbour logs in", SOON, || async { neighbour.sql("SELECT 1").await.ok() }).await;
    is_healthy(&admin, &neighbour.pool).await;
    drop(held);
    Ok(())
}

async fn connector(stack: &Stack, pool: &str) -> anyhow::Result<TlsConnector> {
    let authorities = tenant::authorities(stack, pool).await?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(authority?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// DBS-11: neither flags of its own database nor a neighbour's grants keep a tenant from being purged.
#[tokio::test]
async fn a_tenant_cannot_keep_itself_or_its_neighbour_from_the_purge() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let admin = Customer::admin(&stack).await?;
    let (_a, a) = super::tenant(&stack, &admin, "purged").await?;
    let (_b, b) = super::tenant(&stack, &admin, "grants").await?;
    let (own, other) = (&a.database, &b.database);
    a.is_refused("postgres", &format!(r#"ALTER DATABASE "{own}" IS_TEMPLATE true"#)).await?;
    b.sql(&format!(r#"CREATE TABLE keepsake (id integer); GRANT ALL ON keepsake TO "{}""#, a.role)).await?;
    b.is_refused("postgres", &format!(r#"ALTER DATABASE "{other}" ALLOW_CONNECTIONS false"#)).await?;

    purge(&admin, &a.instance).await?;

    let count = format!(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname = '{own}')
              + (SELECT count(*) FROM pg_roles WHERE rolname = '{}')",
        a.role
    );
    eventually("it is gone", PATIENCE, || async {
        (psql(&stack, &a.pool, "postgres", &count).await.ok()? == "0").then_some(())
    })
    .await;
    Ok(())
}

/// DBS-32: no setting of a tenant keeps operators from another password of its database.
#[tokio::test]
async fn a_tenants_settings_hold_up_no_rotation() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let admin = Customer::admin(&stack).await?;
    let (customer, tenant) = super::tenant(&stack, &admin, "settings").await?;
    let name = &tenant.database;
    for setting in [format!("role = '{}'", tenant.role), "default_transaction_read_only = on".into()] {
        tenant.is_refused("postgres", &format!(r#"ALTER DATABASE "{name}" SET {setting}"#)).await?;
    }
    tenant.sql("ALTER ROLE CURRENT_USER SET search_path = public, pg_catalog").await?;
    tenant.sql("ALTER ROLE CURRENT_USER SET default_transaction_read_only = on").await?;

    let task = rotate(&admin, &tenant.instance).await?;

    succeeded(&admin, &task).await;
    customer.until(&tenant.instance, "running").await?;
    let now = place(&admin, &tenant.instance).await?;
    ensure!(now["db_user"] != tenant.role.as_str(), "the same role: {now}");
    Ok(())
}

/// DBS-37: no function tells a tenant what its neighbours do.
#[tokio::test]
async fn statistics_tell_nothing_of_neighbours() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let admin = Customer::admin(&stack).await?;
    let (_a, tenant) = super::tenant(&stack, &admin, "curious").await?;
    for query in [
        "SELECT * FROM pg_stat_get_activity(NULL)",
        "SELECT pg_stat_get_db_numbackends(oid) FROM pg_database",
        "SELECT pg_stat_get_db_xact_commit(oid) FROM pg_database",
        "SELECT pg_stat_get_backend_pid(id) FROM pg_stat_get_backend_idset() AS id",
    ] {
        tenant.is_refused("postgres", query).await?;
    }
    Ok(())
}

/// DBS-29: locks of the platform's own words are free for tenants to hold, and hold up nothing.
#[tokio::test]
async fn advisory_locks_of_a_tenant_hold_up_no_health_check() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let admin = Customer::admin(&stack).await?;
    let (_a, tenant) = super::tenant(&stack, &admin, "advisory").await?;
    let locks = "SELECT pg_advisory_lock(g) FROM generate_series(1, 10) AS g";
    let held = tenant.hold("postgres", locks).await?;

    psql(&stack, &tenant.pool, "postgres", "COMMENT ON SCHEMA platform IS NULL").await?;
    is_healthy(&admin, &tenant.pool).await;
    drop(held);
    Ok(())
}
