//! The deletion of old rows against a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use runtime::retention::{Kept, Retention, not_covered, prune};
use sqlx::PgPool;

const SCHEMA: &str = "
    CREATE TABLE orders (id int PRIMARY KEY, ended_at timestamptz);
    CREATE TABLE lines (order_id int REFERENCES orders (id) ON DELETE CASCADE);
    CREATE TABLE notes (order_id int REFERENCES orders (id));
    CREATE TABLE books (id int, at timestamptz);";

const ORDERS: Retention = Retention {
    table: "orders",
    class: "orders",
    kept: Kept::Days {
        days: 30,
        rows: "ended_at < $1 AND NOT EXISTS (SELECT FROM notes WHERE order_id = orders.id)",
    },
};
const LINES: Retention = Retention { table: "lines", class: "orders", kept: Kept::WithParent("orders") };
const BOOKS: Retention = Retention { table: "books", class: "money", kept: Kept::Forever("the law asks") };
const NOTES: Retention = Retention { table: "notes", class: "notes", kept: Kept::Forever("they are few") };

async fn count(pool: &PgPool, table: &'static str) -> i64 {
    let count = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(pool).await.unwrap()
}

async fn add_orders(pool: &PgPool, ids: std::ops::Range<i32>, days: i32) {
    sqlx::query(
        "INSERT INTO orders SELECT id, now() - make_interval(days => $3) FROM generate_series($1, $2 - 1) id",
    )
    .bind(ids.start)
    .bind(ids.end)
    .bind(days)
    .execute(pool)
    .await
    .unwrap();
}

#[sqlx::test(migrations = false)]
async fn old_rows_go_and_young_open_and_referenced_ones_stay(pool: PgPool) {
    sqlx::raw_sql(SCHEMA).execute(&pool).await.unwrap();
    add_orders(&pool, 0..2500, 31).await;
    add_orders(&pool, 2500..2600, 29).await;
    sqlx::raw_sql(
        "INSERT INTO orders VALUES (3000, NULL); INSERT INTO notes VALUES (7);
         INSERT INTO lines SELECT id FROM orders; INSERT INTO books VALUES (1, '1990-01-01')",
    )
    .execute(&pool)
    .await
    .unwrap();

    let gone = prune(&pool, &[ORDERS, LINES, BOOKS, NOTES]).await.unwrap();

    assert_eq!(gone, 2499);
    for (table, left) in [("orders", 102), ("lines", 102), ("notes", 1), ("books", 1)] {
        assert_eq!(count(&pool, table).await, left, "{table}");
    }
    assert_eq!(prune(&pool, &[ORDERS]).await.unwrap(), 0);
}

/// A row that somebody works on is left for the next round, and nobody waits for it.
#[sqlx::test(migrations = false)]
async fn rows_at_work_are_left(pool: PgPool) {
    sqlx::raw_sql(SCHEMA).execute(&pool).await.unwrap();
    add_orders(&pool, 0..10, 31).await;
    let mut busy = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM orders WHERE id = 3 FOR UPDATE").execute(&mut *busy).await.unwrap();

    assert_eq!(prune(&pool, &[ORDERS]).await.unwrap(), 9);

    busy.commit().await.unwrap();
    assert_eq!(prune(&pool, &[ORDERS]).await.unwrap(), 1);
}

#[sqlx::test(migrations = false)]
async fn a_table_that_fails_stops_no_other(pool: PgPool) {
    sqlx::raw_sql(SCHEMA).execute(&pool).await.unwrap();
    add_orders(&pool, 0..10, 31).await;
    let broken = Retention { table: "books", class: "money", kept: Kept::Days { days: 1, rows: "aet < $1" } };

    let failure = prune(&pool, &[broken, ORDERS]).await.unwrap_err();

    assert!(failure.to_string().contains("aet"), "{failure}");
    assert_eq!(count(&pool, "orders").await, 0);
}

#[sqlx::test(migrations = false)]
async fn a_forgotten_table_is_named(pool: PgPool) {
    sqlx::raw_sql(SCHEMA).execute(&pool).await.unwrap();
    assert_eq!(not_covered(&pool, &[ORDERS, LINES, BOOKS, NOTES]).await.unwrap(), [] as [&str; 0]);

    let orphan = Retention { table: "notes", class: "notes", kept: Kept::WithParent("orders") };
    let ghost = Retention { table: "ghosts", class: "ghosts", kept: Kept::Forever("they are dead") };
    let broken = Retention { kept: Kept::Days { days: 1, rows: "endet_at < $1" }, ..ORDERS };
    let faults = not_covered(&pool, &[broken, orphan, ghost, LINES]).await.unwrap();

    assert_eq!(faults.len(), 4, "{faults:?}");
    assert_eq!(faults[0], "books");
    assert!(faults[1].contains("endet_at"), "{faults:?}");
    assert_eq!(faults[2..], ["notes: does not go with orders", "ghosts: there is no such table"]);
}
