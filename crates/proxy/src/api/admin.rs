//! `/admin/v1`: actions of operators over HTTP, as JSON. Each object has a `type`; lists come in pages.
//!
//! The scope `admin:read` may read, `admin` may change. A body with an unknown field is rejected, so that no operator
//! takes a field for set that was ignored.

mod requests;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use http::{HeaderMap, StatusCode, Uri, header};
use protocol::anthropic::{ErrorType, InvalidRequest};
use serde_json::{Value, json};

use super::error::ApiError;
use super::extract::{AuthenticatedCaller, BodyBytes};
use crate::admin::{AdminError, Declaration, NOT_ISSUED_HERE, UsageReportView, csv, empty_usage_row};
use crate::app::App;
use crate::store::{ListPage, Page};
use requests::{NewTeam, NewTeamName, NewToken, NewUser, NewUserName, Query, TeamPatch, UserPatch, body};

/// Maximum rows of a CSV, which is built in memory: some 50 MB.
const MAX_CSV_ROWS: usize = 100_000;
/// Parameters of a usage report, beside those of every list.
const USAGE_PARAMETERS: [&str; 9] =
    ["from", "to", "by", "user_id", "team", "model", "client", "session_id", "format"];

type AdminResult = Result<Response, ApiError>;
type Name = Result<Path<String>, PathRejection>;

/// The OpenAPI document of these paths; `tests/it/openapi.rs` compares it with the code.
const OPENAPI: &str = include_str!("admin/openapi.json");

/// All of its paths.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/admin/v1/users", get(users).post(add_user))
        .route("/admin/v1/users/{user_id}", get(user).patch(set_user).delete(remove_user))
        .route("/admin/v1/users/{user_id}/rename", post(rename_user))
        .route("/admin/v1/teams", get(teams).post(add_team))
        .route("/admin/v1/teams/{team}", get(team).patch(set_team).delete(remove_team))
        .route("/admin/v1/teams/{team}/rename", post(rename_team))
        .route("/admin/v1/tokens", get(tokens).post(issue).delete(revoke_all))
        .route("/admin/v1/tokens/{jti}", delete(revoke))
        .route("/admin/v1/import", post(import))
        .route("/admin/v1/apply", post(apply))
        .route("/admin/v1/reload", post(reload))
        .route("/admin/v1/usage", get(usage))
        .route("/admin/v1/events", get(events))
        .route("/admin/v1/openapi.json", get(openapi))
        .route("/admin/{*path}", any(not_found))
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(ErrorType::NotFound, format!("path {} not found", uri.path()))
}

async fn users(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> AdminResult {
    let query = Query::read(&uri, &["team", "format"])?;
    let (admin, team) = (&app.admin, query.text("team"));
    if query.wants_csv(&headers)? {
        return csv_list(&all_rows(|page| async move { admin.users(team, &page).await }).await?);
    }
    list(&admin.users(team, &query.page).await?)
}

async fn user(State(app): State<Arc<App>>, name: Name) -> AdminResult {
    json_response(StatusCode::OK, &app.admin.user(&named(name)?).await?)
}

async fn add_user(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    BodyBytes(bytes): BodyBytes,
) -> AdminResult {
    let NewUser { user_id, change } = body(&bytes)?;
    json_response(StatusCode::CREATED, &app.admin.add_user(&user_id, &change, &caller.caller.user_id).await?)
}

async fn set_user(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    name: Name,
    BodyBytes(bytes): BodyBytes,
) -> AdminResult {
    let UserPatch(change) = body(&bytes)?;
    json_response(StatusCode::OK, &app.admin.set_user(&named(name)?, &change, &caller.caller.user_id).await?)
}

async fn rename_user(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    name: Name,
    BodyBytes(bytes): BodyBytes,
) -> AdminResult {
    let NewUserName { user_id } = body(&bytes)?;
    let user = app.admin.rename_user(&named(name)?, &user_id, &caller.caller.user_id).await?;
    json_response(StatusCode::OK, &user)
}

async fn remove_user(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    name: Name,
    uri: Uri,
) -> AdminResult {
    let erase_name = Query::read(&uri, &["erase_name"])?.flag("erase_name")?;
    let removed = app.admin.remove_user(&named(name)?, erase_name, &caller.caller.user_id).await?;
    json_response(StatusCode::OK, &removed)
}

async fn teams(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> AdminResult {
    let (query, admin) = (Query::read(&uri, &["format"])?, &app.admin);
    if query.wants_csv(&headers)? {
        return csv_list(&all_rows(|page| async move { admin.teams(&page).await }).await?);
    }
    list(&admin.teams(&query.page).await?)
}

async fn team(State(app): State<Arc<App>>, name: Name) -> AdminResult {
    json_response(StatusCode::OK, &app.admin.team(&named(name)?).await?)
}

async fn add_team(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    BodyBytes(bytes): BodyBytes,
) -> AdminResult {
    let NewTeam { team, change } = body(&bytes)?;
    json_response(StatusCode::CREATED, &app.admin.add_team(&team, &change, &caller.caller.user_id).await?)
}

async fn set_team(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    name: Name,
    BodyBytes(bytes): BodyBytes,
) -> AdminResult {
    let TeamPatch(change) = body(&bytes)?;
    json_response(StatusCode::OK, &app.admin.set_team(&named(name)?, &change, &caller.caller.user_id).await?)
}

async fn rename_team(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    name: Name,
    BodyBytes(bytes): BodyBytes,
) -> AdminResult {
    let NewTeamName { team } = body(&bytes)?;
    let team = app.admin.rename_team(&named(name)?, &team, &caller.caller.user_id).await?;
    json_response(StatusCode::OK, &team)
}

/// Removes a team. Its users go to the team `move_users_to`; an empty value stands for none.
async fn remove_team(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    name: Name,
    uri: Uri,
) -> AdminResult {
    let query = Query::read(&uri, &["move_users_to"])?;
    let users_to = query.given("move_users_to").map(|team| Some(team).filter(|team| !team.is_empty()));
    let removed = app.admin.remove_team(&named(name)?, users_to, &caller.caller.user_id).await?;
    json_response(StatusCode::OK, &removed)
}

async fn tokens(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> AdminResult {
    let query = Query::read(&uri, &["user_id", "format"])?;
    let (admin, user_id) = (&app.admin, query.text("user_id"));
    if query.wants_csv(&headers)? {
        return csv_list(&all_rows(|page| async move { admin.tokens(user_id, &page).await }).await?);
    }
    list(&admin.tokens(user_id, &query.page).await?)
}

/// Issues a token: the only response that holds one.
async fn issue(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    BodyBytes(bytes): BodyBytes,
) -> AdminResult {
    let NewToken(wanted) = body(&bytes)?;
    let issued = app.admin.issue_token(&wanted, &caller.caller.user_id).await?;
    let mut object = issued.record;
    object["token"] = issued.token.expose().into();
    json_response(StatusCode::CREATED, &object)
}

async fn revoke(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    name: Name,
) -> AdminResult {
    let jti = named(name)?;
    let revoked = app.admin.revoke_token(&jti, &caller.caller.user_id).await?;
    let mut object = json!({
        "type": "token_revoked",
        "jti": jti,
        "was_valid": revoked.was_valid,
        "was_issued": revoked.was_issued,
    });
    if !revoked.was_issued {
        object["message"] = NOT_ISSUED_HERE.into();
    }
    json_response(StatusCode::OK, &object)
}

async fn revoke_all(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    uri: Uri,
) -> AdminResult {
    let query = Query::read(&uri, &["user_id"])?;
    let user_id = query.text("user_id").ok_or_else(|| InvalidRequest::new("user_id", "Field required"))?;
    app.admin.revoke_user_tokens(user_id, &caller.caller.user_id).await?;
    json_response(StatusCode::OK, &json!({"type": "tokens_revoked", "user_id": user_id}))
}

/// Adds and changes users by a CSV.
async fn import(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    uri: Uri,
    BodyBytes(bytes): BodyBytes,
) -> AdminResult {
    let dry_run = Query::read(&uri, &["dry_run"])?.flag("dry_run")?;
    let text = std::str::from_utf8(&bytes).map_err(|_| InvalidRequest::new("body", "is not valid UTF-8"))?;
    carry_out(&app, &Declaration::from_csv(text), false, dry_run, &caller.caller.user_id).await
}

/// Adds, changes and removes teams and users as a document describes them.
async fn apply(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
    uri: Uri,
    BodyBytes(bytes): BodyBytes,
) -> AdminResult {
    let query = Query::read(&uri, &["prune", "dry_run"])?;
    let (prune, dry_run) = (query.flag("prune")?, query.flag("dry_run")?);
    let document: Value = body(&bytes)?;
    carry_out(&app, &Declaration::from_document(&document), prune, dry_run, &caller.caller.user_id).await
}

/// Reads the configuration again.
async fn reload(
    State(app): State<Arc<App>>,
    AuthenticatedCaller(caller): AuthenticatedCaller,
) -> AdminResult {
    let reloaded = app.reload(&caller.caller.user_id).await;
    let reloaded = reloaded.map_err(|error| ApiError::new(ErrorType::InvalidRequest, error.to_string()))?;
    let object = json!({
        "type": "configuration_reloaded",
        "changed": reloaded.changed,
        "needs_restart": reloaded.needs_restart,
    });
    json_response(StatusCode::OK, &object)
}

async fn carry_out(
    app: &App,
    declaration: &Declaration,
    prune: bool,
    dry_run: bool,
    actor: &str,
) -> AdminResult {
    let plan = app.admin.plan(declaration, prune).await?;
    if !dry_run {
        app.admin.execute(&plan, actor, || {}).await?;
    }
    json_response(StatusCode::OK, &plan.to_json(!dry_run))
}

async fn usage(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> AdminResult {
    let query = Query::read(&uri, &USAGE_PARAMETERS)?;
    let (from, to) = app.admin.report_days(query.owned("from"), query.owned("to"))?;
    let report = query.usage(from, to)?;
    if query.wants_csv(&headers)? {
        let ListPage { rows, next } = app.admin.whole_usage_report(&report, MAX_CSV_ROWS).await?.page;
        if next.is_some() {
            return Err(too_many_rows().into());
        }
        return csv_response(&empty_usage_row(report.by), &rows);
    }
    let UsageReportView { page, totals } = app.admin.usage_report(&report, &query.page).await?;
    let mut object = list_object(&page);
    object["totals"] = totals;
    object["from"] = report.from.into();
    object["to"] = report.to.into();
    json_response(StatusCode::OK, &object)
}

async fn events(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> AdminResult {
    let query = Query::read(&uri, &["kind", "user_id", "team", "actor", "from", "to", "format"])?;
    let filter = query.events()?;
    if query.wants_csv(&headers)? {
        let (admin, filter) = (&app.admin, &filter);
        let rows = all_rows(|page| async move { admin.events(filter, &page).await }).await?;
        return csv_list(&rows);
    }
    list(&app.admin.events(&filter, &query.page).await?)
}

async fn openapi() -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, OPENAPI).into_response()
}

fn list(found: &ListPage<Value>) -> AdminResult {
    json_response(StatusCode::OK, &list_object(found))
}

fn list_object(found: &ListPage<Value>) -> Value {
    let has_more = found.next.is_some();
    json!({"type": "list", "data": found.rows, "has_more": has_more, "last_id": found.next})
}

/// All rows of a list, for a CSV.
///
/// # Errors
/// When a page cannot be read, or there are more than [`MAX_CSV_ROWS`].
async fn all_rows<F>(load: impl Fn(Page) -> F) -> Result<Vec<Value>, AdminError>
where
    F: Future<Output = Result<ListPage<Value>, AdminError>>,
{
    let (mut rows, mut page) = (Vec::new(), Page { after: None, limit: 1000 });
    loop {
        let found = load(page.clone()).await?;
        rows.extend(found.rows);
        if rows.len() > MAX_CSV_ROWS {
            return Err(too_many_rows());
        }
        if found.next.is_none() {
            return Ok(rows);
        }
        page.after = found.next;
    }
}

fn too_many_rows() -> AdminError {
    AdminError::Invalid(format!("the CSV would have more than {MAX_CSV_ROWS} rows; request a shorter range"))
}

/// A CSV with the members of the first row as columns; empty without rows.
fn csv_list(rows: &[Value]) -> AdminResult {
    csv_response(rows.first().unwrap_or(&Value::Null), rows)
}

fn csv_response(first: &Value, rows: &[Value]) -> AdminResult {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, csv(first, rows)).into_response())
}

fn json_response(status: StatusCode, object: &Value) -> AdminResult {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((status, headers, object.to_string()).into_response())
}

fn named(name: Name) -> Result<String, ApiError> {
    name.map(|Path(name)| name).map_err(|_| InvalidRequest::new("path", "is not valid UTF-8").into())
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        let message = error.to_string();
        match error {
            AdminError::Invalid(_) => Self::new(ErrorType::InvalidRequest, message),
            AdminError::NotFound(_) | AdminError::NotIssued(_) => Self::new(ErrorType::NotFound, message),
            AdminError::Conflict(_) => {
                Self::new(ErrorType::InvalidRequest, message).with_status(StatusCode::CONFLICT)
            }
            // The address of the database goes to the operator's log only.
            AdminError::Unavailable(reason) => {
                tracing::warn!(reason, "administration request failed: database unavailable");
                Self::database_unavailable("the proxy's database is unavailable; try again in a few seconds")
            }
        }
    }
}
