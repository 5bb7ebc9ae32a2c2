//! `AccountService`: routes of a signed-in user.

use contracts::scalars::timestamp;
use contracts::user::v1::account_service_server::AccountService;
use contracts::user::v1::{
    ChangePasswordRequest, ChangePasswordResponse, CloseAccountRequest, CloseAccountResponse,
    GetPreferencesRequest, GetPreferencesResponse, GetProfileRequest, GetProfileResponse,
    ListOwnAuditRequest, ListOwnAuditResponse, ListSessionsRequest, ListSessionsResponse, LogoutRequest,
    LogoutResponse, RevokeSessionsRequest, RevokeSessionsResponse, Session, UpdatePreferencesRequest,
    UpdatePreferencesResponse, UpdateProfileRequest, UpdateProfileResponse,
};
use runtime::page::Page;
use tonic::{Request, Response, Status};

use super::{Api, convert};
use crate::app::password::Wanted;
use crate::domain::{Preferences, ProfileChange};
use crate::error::Error;

#[tonic::async_trait]
impl AccountService for Api {
    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        let caller = self.caller(&request).await?;
        self.app.logout(&caller).await?;
        Ok(Response::new(LogoutResponse {}))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        let caller = self.caller(&request).await?;
        let body = request.get_ref();
        let wanted = Wanted { new: &body.new_password, confirm: &body.confirm_password };
        self.app.change_password(&caller, &body.current_password, &wanted).await?;
        Ok(Response::new(ChangePasswordResponse {}))
    }

    async fn get_profile(
        &self,
        request: Request<GetProfileRequest>,
    ) -> Result<Response<GetProfileResponse>, Status> {
        let caller = self.caller(&request).await?;
        let profile = self.app.profile(&caller).await?;
        Ok(Response::new(GetProfileResponse { profile: Some(convert::profile(profile)) }))
    }

    async fn update_profile(
        &self,
        request: Request<UpdateProfileRequest>,
    ) -> Result<Response<UpdateProfileResponse>, Status> {
        let caller = self.caller(&request).await?;
        let body = request.into_inner();
        let change = ProfileChange {
            first_name: body.first_name,
            last_name: body.last_name,
            phone: body.phone,
            company: body.company,
            country: body.country,
            timezone: body.timezone,
            language: body.language,
            avatar_url: body.avatar_url,
        };
        let change = ProfileChange::try_new(change).map_err(Error::from)?;
        let profile = self.app.update_profile(&caller, &change, body.expected_version).await?;
        Ok(Response::new(UpdateProfileResponse { profile: Some(convert::profile(profile)) }))
    }

    async fn get_preferences(
        &self,
        request: Request<GetPreferencesRequest>,
    ) -> Result<Response<GetPreferencesResponse>, Status> {
        let caller = self.caller(&request).await?;
        let user = self.app.preferences(&caller).await?;
        Ok(Response::new(GetPreferencesResponse { preferences: Some(convert::preferences(&user)) }))
    }

    async fn update_preferences(
        &self,
        request: Request<UpdatePreferencesRequest>,
    ) -> Result<Response<UpdatePreferencesResponse>, Status> {
        let caller = self.caller(&request).await?;
        let body = request.into_inner().preferences.unwrap_or_default();
        let switches =
            body.notifications.map(|switches| [switches.instance, switches.backup, switches.product]);
        let wanted = Preferences::try_new(&body.language, &body.theme, switches).map_err(Error::from)?;
        let user = self.app.update_preferences(&caller, &wanted).await?;
        Ok(Response::new(UpdatePreferencesResponse { preferences: Some(convert::preferences(&user)) }))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let caller = self.caller(&request).await?;
        let sessions = self.app.list_sessions(&caller).await?;
        let sessions = sessions.into_iter().map(|session| Session {
            current: session.id == caller.session,
            id: session.id.to_string(),
            created_at: Some(timestamp(session.created_at)),
            last_used_at: Some(timestamp(session.last_used_at)),
            ip: session.ip,
            user_agent: session.user_agent,
        });
        Ok(Response::new(ListSessionsResponse { sessions: sessions.collect() }))
    }

    async fn revoke_sessions(
        &self,
        request: Request<RevokeSessionsRequest>,
    ) -> Result<Response<RevokeSessionsResponse>, Status> {
        let caller = self.caller(&request).await?;
        match &request.get_ref().session_id {
            Some(id) => self.app.revoke_session(&caller, convert::id(id, "session")?).await?,
            None => self.app.revoke_other_sessions(&caller).await?,
        }
        Ok(Response::new(RevokeSessionsResponse {}))
    }

    async fn list_own_audit(
        &self,
        request: Request<ListOwnAuditRequest>,
    ) -> Result<Response<ListOwnAuditResponse>, Status> {
        let caller = self.caller(&request).await?;
        let page = Page::try_new(request.get_ref().page, request.get_ref().page_size)?;
        let (entries, total) = self.app.own_audit(&caller, page).await?;
        let entries = entries.into_iter().map(convert::audit_entry).collect();
        Ok(Response::new(ListOwnAuditResponse { entries, total }))
    }

    async fn close_account(
        &self,
        request: Request<CloseAccountRequest>,
    ) -> Result<Response<CloseAccountResponse>, Status> {
        let caller = self.caller(&request).await?;
        let body = request.get_ref();
        let erase_after = self.app.close_account(&caller, &body.password, body.force_terminate).await?;
        Ok(Response::new(CloseAccountResponse { erase_after: Some(timestamp(erase_after)) }))
    }
}
