//! Reads a [`Trace`] of a tenant's database (DBS-33): its catalogue, and how much was written to each table.

use std::collections::BTreeMap;

use sqlx::{Connection as _, PgConnection};

use super::connections::Tenants;
use super::target::{Target, TenantError};
use crate::domain::trace::{Table, Trace};

/// Before it, counts of writes went to a collector that could lose them.
const OLDEST: i32 = 150_000;

/// A crash throws all counts away, which the shared ones say; the rest may be reset for one database.
const EPOCH: &str = "SELECT concat_ws(' ', current_setting('server_version_num'), pg_postmaster_start_time(), (SELECT stats_reset FROM pg_stat_bgwriter),
        (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database())),
    current_setting('server_version_num')::int, current_setting('track_counts')::bool";

/// Rows of these catalogues, each with the transaction that wrote it.
macro_rules! lines_of {
    ($($catalogue:literal $own:literal),+ $(,)?) => {
        concat!($("UNION ALL SELECT '", $catalogue, "', x.xmin::text || x::text FROM ", $catalogue, " x WHERE ", $own, "\n"),+)
    };
}

/// Each row of the catalogue that a tenant's own objects have, with the transaction that wrote it, so that
/// something changed and changed back shows. What maintenance writes into `pg_class` in passing is left out,
/// and what tables that live for a session leave there.
const CATALOGUE: &str = concat!(
    "WITH own AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
     rel AS (SELECT oid FROM pg_class WHERE relnamespace IN (SELECT oid FROM own)),
     typ AS (SELECT oid FROM pg_type WHERE typnamespace IN (SELECT oid FROM own)),
     parts (part, line) AS (
         SELECT 'pg_class', (to_jsonb(c) - '{relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid,relfilenode,relhasindex,relhasrules,relhastriggers,relhassubclass}'::text[])::text
         FROM pg_class c WHERE oid IN (SELECT oid FROM rel)
",
    lines_of![
        "pg_namespace" "oid IN (SELECT oid FROM own)",
        "pg_attribute" "attrelid IN (SELECT oid FROM rel)",
        "pg_attrdef" "adrelid IN (SELECT oid FROM rel)",
        "pg_constraint" "connamespace IN (SELECT oid FROM own)",
        "pg_index" "indrelid IN (SELECT oid FROM rel)",
        "pg_inherits" "inhrelid IN (SELECT oid FROM rel)",
        "pg_partitioned_table" "partrelid IN (SELECT oid FROM rel)",
        "pg_policy" "polrelid IN (SELECT oid FROM rel)",
        "pg_proc" "pronamespace IN (SELECT oid FROM own)",
        "pg_aggregate" "aggfnoid >= 16384",
        "pg_rewrite" "ev_class IN (SELECT oid FROM rel)",
        "pg_sequence" "seqrelid IN (SELECT oid FROM rel)",
        "pg_statistic_ext" "stxnamespace IN (SELECT oid FROM own)",
        "pg_trigger" "tgrelid IN (SELECT oid FROM rel)",
        "pg_type" "oid IN (SELECT oid FROM typ)",
        "pg_enum" "enumtypid IN (SELECT oid FROM typ)",
        "pg_range" "rngtypid IN (SELECT oid FROM typ)",
        "pg_extension" "true",
        "pg_operator" "oprnamespace IN (SELECT oid FROM own)",
        "pg_opclass" "opcnamespace IN (SELECT oid FROM own)",
        "pg_opfamily" "opfnamespace IN (SELECT oid FROM own)",
        "pg_cast" "oid >= 16384",
        "pg_collation" "collnamespace IN (SELECT oid FROM own)",
        "pg_conversion" "connamespace IN (SELECT oid FROM own)",
        "pg_ts_config" "cfgnamespace IN (SELECT oid FROM own)",
        "pg_ts_config_map" "mapcfg >= 16384",
        "pg_ts_dict" "dictnamespace IN (SELECT oid FROM own)",
        "pg_publication" "true",
        "pg_publication_rel" "true",
    ],
    ")
     SELECT md5(coalesce(string_agg(concat_ws(' ', part, lines, hash), ',' ORDER BY part), '')),
         (SELECT count(*) FROM pg_trigger WHERE tgenabled IN ('A', 'R') AND NOT tgisinternal) + (SELECT count(*) FROM pg_rewrite WHERE ev_enabled IN ('A', 'R')),
         (SELECT pg_stat_get_tuples_inserted(c) + pg_stat_get_tuples_updated(c) + pg_stat_get_tuples_deleted(c) FROM (SELECT 'pg_largeobject'::regclass) AS x (c))
     FROM (SELECT part, count(*) AS lines, sum(hashtextextended(line, 0)::numeric) AS hash FROM parts GROUP BY part) AS summed"
);

const TABLES: &str = "
SELECT format('%I.%I', n.nspname, c.relname) AS full_name, n.nspname::text AS schema, c.relname::text AS name, c.relkind = 'm' AS derived,
    c.oid::bigint AS oid, c.relfilenode::bigint AS file, pg_table_size(c.oid) AS bytes,
    pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid) AS writes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

#[derive(sqlx::FromRow)]
struct TableRow {
    full_name: String,
    schema: String,
    name: String,
    derived: bool,
    oid: i64,
    file: i64,
    writes: i64,
    bytes: i64,
}

impl TableRow {
    fn named(self) -> (String, Table) {
        let Self { full_name, schema, name, derived, oid, file, writes, bytes } = self;
        (full_name, Table { schema, name, derived, oid, file, writes, bytes })
    }
}

impl Tenants {
    /// What a database looks like now.
    pub async fn trace(&self, target: &Target, database: &str) -> Result<Trace, TenantError> {
        let mut connection = self.reader(target, database).await?;
        let found = read(&mut connection).await?;
        connection.close().await?;
        Ok(found)
    }
}

async fn read(connection: &mut PgConnection) -> Result<Trace, TenantError> {
    let (epoch, version, counts): (String, i32, bool) =
        sqlx::query_as(EPOCH).fetch_one(&mut *connection).await?;
    if version < OLDEST || !counts {
        let why = format!("a move needs PostgreSQL 15 or newer with track_counts; it has {version}");
        return Err(TenantError::Unsuited(why));
    }
    // The counts first: what is written between the two statements shows in the catalogue.
    let rows: Vec<TableRow> = sqlx::query_as(TABLES).fetch_all(&mut *connection).await?;
    let (catalogue, eager_triggers, large_objects) =
        sqlx::query_as(CATALOGUE).fetch_one(&mut *connection).await?;
    let tables: BTreeMap<String, Table> = rows.into_iter().map(TableRow::named).collect();
    Ok(Trace { epoch, catalogue, eager_triggers, large_objects, tables })
}
