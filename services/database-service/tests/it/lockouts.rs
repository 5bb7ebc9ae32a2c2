//! Whoever has the credentials of an instance can lock it out of its database. The next check lets it in again
//! with what it knows, without a person (DBS-32).

use database_service::app::external_id;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::traps::Scene;

const LOCKOUTS: [(&str, &str); 5] = [
    ("another password", "ALTER ROLE CURRENT_USER PASSWORD 'mine'"),
    ("none", "ALTER ROLE CURRENT_USER PASSWORD NULL"),
    (
        "one of a kind that is not taken",
        "SET password_encryption = md5; ALTER ROLE CURRENT_USER PASSWORD 'x'",
    ),
    ("a library that is not there", "ALTER ROLE CURRENT_USER SET local_preload_libraries = 'nothing'"),
    (
        "the same for its own database",
        "ALTER ROLE CURRENT_USER IN DATABASE \"$A\" SET local_preload_libraries = 'nothing'",
    ),
];

#[sqlx::test(migrations = "./migrations")]
async fn a_tenant_that_locked_itself_out_is_let_in_with_the_password_that_it_knows(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let (tenant, neighbour) = (scene.tenant("a").await, scene.tenant("b").await);
    for (sort, statement) in LOCKOUTS {
        let enter = async || scene.first.try_connect(&tenant.user, &tenant.password, &tenant.database).await;
        let text = statement.replace("$A", &tenant.database);
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut enter().await.unwrap()).await.unwrap();
        assert!(enter().await.is_err(), "{sort}: nothing keeps it out");

        scene.check().await;

        enter().await.unwrap_or_else(|error| panic!("{sort}: {error}"));
        let intruder = scene.first.try_connect(&tenant.user, "mine", &tenant.database).await;
        assert!(intruder.is_err(), "{sort}: the other password is valid too");
    }
    scene.first.try_connect(&neighbour.user, &neighbour.password, &neighbour.database).await.unwrap();
}

/// What nobody changed is not written: verifiers stay, and with them the sessions' own checks.
#[sqlx::test(migrations = "./migrations")]
async fn a_check_changes_no_password_that_is_right(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let tenant = scene.tenant("a").await;
    let verifier = async || -> String {
        sqlx::query_scalar("SELECT rolpassword FROM pg_authid WHERE rolname = $1")
            .bind(&tenant.user)
            .fetch_one(&mut scene.first.admin().await)
            .await
            .unwrap()
    };
    let before = verifier().await;

    scene.check().await;

    assert_eq!(verifier().await, before);
}

/// While a password changes, the role that is given out is looked at, and no other comes back.
#[sqlx::test(migrations = "./migrations")]
async fn a_check_disturbs_no_change_of_the_password(pool: PgPool) {
    let scene = Scene::new(&pool).await;
    let tenant = scene.tenant("a").await;
    let (id, instance) = (Uuid::now_v7(), external_id("instance_id", "a").unwrap());
    let app = &scene.world.app;
    app.begin_rotation(id, &instance).await.unwrap();
    scene.check().await;
    app.switch_rotation(id).await.unwrap();
    scene.check().await;
    scene.first.try_connect(&tenant.user, &tenant.password, &tenant.database).await.unwrap();
    app.retire_rotation(id).await.unwrap();

    scene.check().await;

    let roles: Vec<String> =
        sqlx::query_scalar("SELECT rolname::text FROM pg_roles WHERE rolname LIKE $1 || '%'")
            .bind(&tenant.database)
            .fetch_all(&mut scene.first.admin().await)
            .await
            .unwrap();
    assert_eq!(roles, [[&tenant.database, "_2"].concat()]);
}
