//! Is the session of an access token still live, and with what role (USR-11)? user-service knows; the answer is kept for 3 s at most.

use std::time::Duration;

use contracts::user::v1::CheckSessionRequest;
use contracts::user::v1::auth_service_client::AuthServiceClient;
use moka::future::Cache;
use runtime::grpc::Authenticated;
use runtime::identity::Role;
use tonic::Code;
use uuid::Uuid;

use crate::context::Ctx;
use crate::problem::Problem;

/// A revoked session is useless within 5 s; this leaves 2 s for the rest.
const KEPT: Duration = Duration::from_secs(3);

/// Session checks. Many requests of one session at once make one call.
#[derive(Debug, Clone)]
pub struct Sessions {
    client: AuthServiceClient<Authenticated>,
    known: Cache<Uuid, Option<Live>>,
}

/// A session that lives.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    /// Whose; unknown while a user-service of a former release answers.
    pub owner: Option<Uuid>,
    /// The role now.
    pub role: Role,
}

impl Sessions {
    /// Asks `client`.
    pub fn new(client: AuthServiceClient<Authenticated>) -> Self {
        Self { client, known: Cache::builder().max_capacity(100_000).time_to_live(KEPT).build() }
    }

    /// A live session; `None` for one that is over. A user-service that does not answer is 503, never a yes.
    pub async fn live(&self, context: &Ctx, session: Uuid) -> Result<Option<Live>, Problem> {
        let check = async {
            let request = context.request(CheckSessionRequest { session_id: session.to_string() });
            match self.client.clone().check_session(request).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    // A role that we do not know is no role.
                    let role = answer.role.parse().ok().filter(|_| answer.live);
                    let owner = answer.customer_id.parse().ok();
                    Ok(role.map(|role| Live { owner, role }))
                }
                Err(status) if status.code() == Code::NotFound => Ok(None),
                Err(status) => Err(status),
            }
        };
        self.known.try_get_with(session, check).await.map_err(|status| {
            tracing::warn!(code = ?status.code(), error = status.message(), "session could not be checked");
            Problem::unavailable("the session cannot be checked now")
        })
    }

    /// Forgets a session that was just ended.
    pub async fn forget(&self, session: Uuid) {
        self.known.invalidate(&session).await;
    }
}
