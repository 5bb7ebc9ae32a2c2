//! Reads a [`Trace`] of a tenant's database (DBS-33): its catalogue, and how much was written to each table.

use std::collections::BTreeMap;

use sqlx::{Connection as _, PgConnection};

use super::copy::connect;
use super::{Target, TenantError, Tenants};
use crate::domain::trace::{Table, Trace};

/// Before it, counts of writes went to a collector that could lose them.
const OLDEST: i32 = 150_000;

/// A crash throws all counts away, which the shared ones say; the rest may be reset for one database.
const EPOCH: &str = "SELECT concat_ws(' ', current_setting('server_version_num'), pg_postmaster_start_time(), (SELECT stats_reset FROM pg_stat_bgwriter),
        (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database())),
    current_setting('server_version_num')::int, current_setting('track_counts')::bool";

/// Each row of the catalogue that a tenant's own objects have, with the transaction that wrote it, so that something changed and changed back shows.
/// What maintenance writes into `pg_class` in passing is left out, and what tables that live for a session leave there.
const CATALOGUE: &str = "
WITH own AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
rel AS (SELECT oid FROM pg_class WHERE relnamespace IN (SELECT oid FROM own)),
typ AS (SELECT oid FROM pg_type WHERE typnamespace IN (SELECT oid FROM own)),
parts (part, line) AS (
    SELECT 'class', (to_jsonb(c) - '{relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid,relfilenode,relhasindex,relhasrules,relhastriggers,relhassubclass}'::text[])::text
        FROM pg_class c WHERE oid IN (SELECT oid FROM rel)
    UNION ALL SELECT 'namespace', x.xmin::text || x::text FROM pg_namespace x WHERE oid IN (SELECT oid FROM own)
    UNION ALL SELECT 'attribute', x.xmin::text || x::text FROM pg_attribute x WHERE attrelid IN (SELECT oid FROM rel)
    UNION ALL SELECT 'attrdef', x.xmin::text || x::text FROM pg_attrdef x WHERE adrelid IN (SELECT oid FROM rel)
    UNION ALL SELECT 'constraint', x.xmin::text || x::text FROM pg_constraint x WHERE connamespace IN (SELECT oid FROM own)
    UNION ALL SELECT 'index', x.xmin::text || x::text FROM pg_index x WHERE indrelid IN (SELECT oid FROM rel)
    UNION ALL SELECT 'inherits', x.xmin::text || x::text FROM pg_inherits x WHERE inhrelid IN (SELECT oid FROM rel)
    UNION ALL SELECT 'partitioned', x.xmin::text || x::text FROM pg_partitioned_table x WHERE partrelid IN (SELECT oid FROM rel)
    UNION ALL SELECT 'policy', x.xmin::text || x::text FROM pg_policy x WHERE polrelid IN (SELECT oid FROM rel)
    UNION ALL SELECT 'proc', x.xmin::text || x::text FROM pg_proc x WHERE pronamespace IN (SELECT oid FROM own)
    UNION ALL SELECT 'aggregate', x.xmin::text || x::text FROM pg_aggregate x WHERE aggfnoid >= 16384
    UNION ALL SELECT 'rewrite', x.xmin::text || x::text FROM pg_rewrite x WHERE ev_class IN (SELECT oid FROM rel)
    UNION ALL SELECT 'sequence', x.xmin::text || x::text FROM pg_sequence x WHERE seqrelid IN (SELECT oid FROM rel)
    UNION ALL SELECT 'statistic', x.xmin::text || x::text FROM pg_statistic_ext x WHERE stxnamespace IN (SELECT oid FROM own)
    UNION ALL SELECT 'trigger', x.xmin::text || x::text FROM pg_trigger x WHERE tgrelid IN (SELECT oid FROM rel)
    UNION ALL SELECT 'type', x.xmin::text || x::text FROM pg_type x WHERE oid IN (SELECT oid FROM typ)
    UNION ALL SELECT 'enum', x.xmin::text || x::text FROM pg_enum x WHERE enumtypid IN (SELECT oid FROM typ)
    UNION ALL SELECT 'range', x.xmin::text || x::text FROM pg_range x WHERE rngtypid IN (SELECT oid FROM typ)
    UNION ALL SELECT 'extension', x.xmin::text || x::text FROM pg_extension x
    UNION ALL SELECT 'operator', x.xmin::text || x::text FROM pg_operator x WHERE oprnamespace IN (SELECT oid FROM own)
    UNION ALL SELECT 'opclass', x.xmin::text || x::text FROM pg_opclass x WHERE opcnamespace IN (SELECT oid FROM own)
    UNION ALL SELECT 'opfamily', x.xmin::text || x::text FROM pg_opfamily x WHERE opfnamespace IN (SELECT oid FROM own)
    UNION ALL SELECT 'cast', x.xmin::text || x::text FROM pg_cast x WHERE oid >= 16384
    UNION ALL SELECT 'collation', x.xmin::text || x::text FROM pg_collation x WHERE collnamespace IN (SELECT oid FROM own)
    UNION ALL SELECT 'conversion', x.xmin::text || x::text FROM pg_conversion x WHERE connamespace IN (SELECT oid FROM own)
    UNION ALL SELECT 'text search', x.xmin::text || x::text FROM pg_ts_config x WHERE cfgnamespace IN (SELECT oid FROM own)
    UNION ALL SELECT 'text search map', x.xmin::text || x::text FROM pg_ts_config_map x WHERE mapcfg >= 16384
    UNION ALL SELECT 'dictionary', x.xmin::text || x::text FROM pg_ts_dict x WHERE dictnamespace IN (SELECT oid FROM own)
    UNION ALL SELECT 'publication', x.xmin::text || x::text FROM pg_publication x
    UNION ALL SELECT 'published', x.xmin::text || x::text FROM pg_publication_rel x)
SELECT md5(coalesce(string_agg(concat_ws(' ', part, lines, hash), ',' ORDER BY part), '')),
    (SELECT count(*) FROM pg_trigger WHERE tgenabled IN ('A', 'R') AND NOT tgisinternal),
    (SELECT pg_stat_get_tuples_inserted(c) + pg_stat_get_tuples_updated(c) + pg_stat_get_tuples_deleted(c) FROM (SELECT 'pg_largeobject'::regclass) AS x (c))
FROM (SELECT part, count(*) AS lines, sum(hashtextextended(line, 0)::numeric) AS hash FROM parts GROUP BY part) AS summed";

const TABLES: &str = "
SELECT n.nspname::text, c.relname::text, c.relkind = 'm', c.oid::bigint, c.relfilenode::bigint,
    pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid), pg_table_size(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

impl Tenants {
    /// What a database looks like now.
    pub async fn trace(&self, target: &Target, database: &str) -> Result<Trace, TenantError> {
        let mut conn = connect(target, database).await?;
        let found = read(&mut conn).await?;
        conn.close().await?;
        Ok(found)
    }
}

async fn read(conn: &mut PgConnection) -> Result<Trace, TenantError> {
    let (epoch, version, counts): (String, i32, bool) = sqlx::query_as(EPOCH).fetch_one(&mut *conn).await?;
    if version < OLDEST || !counts {
        return Err(TenantError::Internal(anyhow::anyhow!(
            "moves need PostgreSQL 15 or newer with track_counts; the server has {version}"
        )));
    }
    // The counts first: what is written between the two statements shows in the catalogue.
    let tables: Vec<(String, String, bool, i64, i64, i64, i64)> =
        sqlx::query_as(TABLES).fetch_all(&mut *conn).await?;
    let (catalogue, eager_triggers, large_objects) = sqlx::query_as(CATALOGUE).fetch_one(&mut *conn).await?;
    let tables: BTreeMap<String, Table> = tables
        .into_iter()
        .map(|(schema, name, derived, oid, file, writes, bytes)| {
            let full = [schema.as_str(), ".", &name].concat();
            (full, Table { schema, name, derived, oid, file, writes, bytes })
        })
        .collect();
    Ok(Trace { epoch, catalogue, eager_triggers, large_objects, tables })
}
