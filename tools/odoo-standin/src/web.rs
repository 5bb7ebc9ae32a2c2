//! The HTTP paths that the platform and its customers look at. Everything else is not found.

use axum::Router;
use axum::extract::{Form, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use serde::Deserialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::{database, log};

#[derive(Clone, Debug)]
struct App {
    pool: PgPool,
    database: String,
}

/// The routes.
pub fn router(pool: PgPool, database: String) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to("/web")))
        .route("/web", get(async || Redirect::to("/web/login")))
        .route("/web/login", get(async || login_page("")).post(log_in))
        .route("/web/health", get(health))
        .route("/web/database/{*rest}", any(async || StatusCode::NOT_FOUND))
        .route("/websocket", any(async || (StatusCode::BAD_REQUEST, "no WebSocket here\n")))
        .with_state(App { pool, database })
}

async fn health(State(app): State<App>) -> Response {
    let (status, body) = if database::answers(&app.pool).await {
        (StatusCode::OK, r#"{"status": "pass"}"#)
    } else {
        log::line(log::Level::Warning, &app.database, "odoo.http", "health: the database does not answer");
        (StatusCode::INTERNAL_SERVER_ERROR, r#"{"status": "fail"}"#)
    };
    (status, [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body)
        .into_response()
}

impl App {
    /// Odoo writes the login as it was typed, however long it is.
    fn note_login(&self, outcome: &str, login: &str) {
        let text = format!("Login {outcome} for db:{} login:{login} from n/a", self.database);
        log::line(log::Level::Info, &self.database, "odoo.addons.base.models.res_users", &text);
    }
}

#[derive(Deserialize)]
struct Credentials {
    login: String,
    password: String,
}

async fn log_in(State(app): State<App>, Form(form): Form<Credentials>) -> Response {
    match database::login(&app.pool, &form.login, &form.password).await {
        Ok(true) => {
            app.note_login("successful", &form.login);
            let cookie = format!("session_id={}; Path=/; HttpOnly; SameSite=Lax", Uuid::new_v4().simple());
            ([(header::SET_COOKIE, cookie)], Redirect::to("/web")).into_response()
        }
        Ok(false) => {
            app.note_login("failed", &form.login);
            login_page("<p>Wrong login/password</p>").into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn login_page(note: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=en><title>Odoo</title><h1>Odoo</h1>{note}<form method=post action=/web/login>\
         <label>Email <input name=login autocomplete=username></label> \
         <label>Password <input name=password type=password autocomplete=current-password></label> \
         <button>Log in</button></form></html>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
    use tower::ServiceExt as _;

    /// A pool that never connects: the port is closed.
    fn nowhere() -> PgPool {
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(1);
        PgPoolOptions::new().acquire_timeout(std::time::Duration::from_millis(200)).connect_lazy_with(options)
    }

    async fn status_and_place(path: &str) -> (u16, Option<String>) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router(nowhere(), "shop".to_owned()).oneshot(request).await.unwrap();
        let place = answer.headers().get(header::LOCATION).map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), place)
    }

    #[tokio::test]
    async fn the_paths_answer_as_odoo_s_do() {
        assert_eq!(status_and_place("/").await, (303, Some("/web".to_owned())));
        assert_eq!(status_and_place("/web").await, (303, Some("/web/login".to_owned())));
        assert_eq!(status_and_place("/web/login").await, (200, None));
        assert_eq!(status_and_place("/web/database/manager").await, (404, None));
        assert_eq!(status_and_place("/websocket").await, (400, None));
        assert_eq!(status_and_place("/other").await, (404, None));
    }

    #[tokio::test]
    async fn health_fails_with_the_database() {
        assert_eq!(status_and_place("/web/health").await, (500, None));
    }
}
