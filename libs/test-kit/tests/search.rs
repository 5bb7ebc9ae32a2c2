//! The search against a real PostgreSQL.

use sqlx::PgPool;
use test_kit::search::rows_with;

const SCHEMA: &str = r#"
    CREATE TYPE mood AS ENUM ('well');
    CREATE TABLE people (id uuid, email varchar(99), mood mood, born date, tags text[], card json, raw bytea,
                         seen_from inet);
    CREATE TABLE "Odd Name" ("Free Text" text, notes jsonb) PARTITION BY LIST ("Free Text");
    CREATE TABLE odd PARTITION OF "Odd Name" DEFAULT;
    INSERT INTO people (email) VALUES ('Ada@Example.com'), ('bob@example.com');
    INSERT INTO people (tags, seen_from) VALUES (ARRAY['x', 'of ada@example.com'], '203.0.113.9');
    INSERT INTO people (card, raw) VALUES ('{"a": ["ada@example.com"]}', 'ada@example.com');
    INSERT INTO "Odd Name" VALUES ('for ada@example.com', '{"ada@example.com": 1}');"#;

#[sqlx::test(migrations = false)]
async fn every_column_that_can_hold_a_text_is_searched(pool: PgPool) {
    sqlx::raw_sql(SCHEMA).execute(&pool).await.unwrap();

    let found = rows_with(&pool, "ada@example.COM").await;

    let expected = [
        "\"Odd Name\".\"Free Text\"",
        "\"Odd Name\".notes",
        "people.card",
        "people.email",
        "people.raw",
        "people.tags",
    ];
    assert_eq!(found, expected);
    assert_eq!(rows_with(&pool, "203.0.113.9").await, ["people.seen_from"]);
    assert_eq!(rows_with(&pool, "a%a@example.com").await, [] as [&str; 0]);
}
