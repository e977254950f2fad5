//! Queries and bodies of requests to `/admin/v1`. Unknown members are rejected.

use http::{HeaderMap, HeaderValue, Uri, header};
use jiff::Timestamp;
use protocol::anthropic::InvalidRequest;
use protocol::json_error::{self, Wording};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use crate::admin::{TeamChange, TokenRequest, UserChange};
use crate::api::error::ApiError;
use crate::api::extract::query_pairs;
use crate::auth::Scope;
use crate::store::{Dimensions, EventFilter, Page, UsageQuery};

/// Rows of a page: as in Anthropic's lists.
const DEFAULT_LIMIT: i64 = 20;
/// Maximum rows of a page: as in Anthropic's lists.
const MOST: i64 = 1000;

/// A name that fits into a message.
fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

/// The body of a request.
///
/// # Errors
/// When it is no JSON, lacks a member, or has one that is not known.
pub(super) fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    Ok(json_error::parse(bytes, Wording::Anthropic)?)
}

/// A user to add.
pub(super) struct NewUser {
    pub(super) user_id: String,
    pub(super) change: UserChange,
}

/// What to change of a user.
pub(super) struct UserPatch(pub(super) UserChange);

/// A team to add.
pub(super) struct NewTeam {
    pub(super) team: String,
    pub(super) change: TeamChange,
}

/// The new name of a user.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUserName {
    pub(super) user_id: String,
}

/// The new name of a team.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTeamName {
    pub(super) team: String,
}

/// What to change of a team.
pub(super) struct TeamPatch(pub(super) TeamChange);

/// A token to issue.
pub(super) struct NewToken(pub(super) TokenRequest);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserBody {
    user_id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    team: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    daily_token_limit: Option<Option<i64>>,
    #[serde(default, deserialize_with = "given")]
    default_inference_profile: Option<Option<String>>,
    disabled: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TeamBody {
    team: Option<String>,
    #[serde(default, deserialize_with = "given")]
    daily_token_limit: Option<Option<i64>>,
    disabled: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    user_id: String,
    team: Option<String>,
    default_inference_profile: Option<String>,
    scope: Option<String>,
    expires_in_seconds: Option<i64>,
    name: Option<String>,
    daily_token_limit: Option<i64>,
    #[serde(default)]
    create: bool,
}

/// `null` is a value, and leaving out is none.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl UserBody {
    fn change(self) -> UserChange {
        UserChange {
            team: self.team,
            daily_token_limit: self.daily_token_limit,
            default_inference_profile: self.default_inference_profile,
            disabled: self.disabled,
        }
    }
}

impl<'de> Deserialize<'de> for NewUser {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut body = UserBody::deserialize(deserializer)?;
        let user_id = body.user_id.take().ok_or_else(|| D::Error::missing_field("user_id"))?;
        Ok(Self { user_id, change: body.change() })
    }
}

impl<'de> Deserialize<'de> for UserPatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let body = UserBody::deserialize(deserializer)?;
        match body.user_id {
            None => Ok(Self(body.change())),
            Some(_) => Err(D::Error::custom(
                "leave user_id out; POST /admin/v1/users/{user_id}/rename renames a user",
            )),
        }
    }
}

impl TeamBody {
    fn change(self) -> TeamChange {
        TeamChange { daily_token_limit: self.daily_token_limit, disabled: self.disabled }
    }
}

impl<'de> Deserialize<'de> for NewTeam {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut body = TeamBody::deserialize(deserializer)?;
        let team = body.team.take().ok_or_else(|| D::Error::missing_field("team"))?;
        Ok(Self { team, change: body.change() })
    }
}

impl<'de> Deserialize<'de> for TeamPatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let body = TeamBody::deserialize(deserializer)?;
        match body.team {
            None => Ok(Self(body.change())),
            Some(_) => {
                Err(D::Error::custom("leave team out; POST /admin/v1/teams/{team}/rename renames a team"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for NewToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let body = TokenBody::deserialize(deserializer)?;
        let name = body.scope.as_deref().unwrap_or(Scope::Inference.as_str());
        let scope = Scope::from_name(name)
            .ok_or_else(|| D::Error::custom("scope is one of inference, admin and admin:read"))?;
        Ok(Self(TokenRequest {
            user_id: body.user_id,
            team: body.team,
            default_inference_profile: body.default_inference_profile,
            scope,
            ttl: body.expires_in_seconds,
            create: body.create,
            name: body.name,
            daily_token_limit: body.daily_token_limit,
        }))
    }
}

/// The query of a list.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) page: Page,
    pairs: Vec<(String, String)>,
}

impl Query {
    /// The page and the parameters in `known`.
    ///
    /// # Errors
    /// When another one is named, or one twice, or the page cannot be one.
    pub(super) fn read(uri: &Uri, known: &[&'static str]) -> Result<Self, InvalidRequest> {
        let mut page = Page { after: None, limit: DEFAULT_LIMIT };
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in query_pairs(uri.query()) {
            let (name, value) = (name.into_owned(), value.into_owned());
            if pairs.iter().any(|(given, _)| *given == name) {
                return Err(InvalidRequest::new(shortened(&name), "the parameter is given twice"));
            }
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MOST).contains(limit));
                    let reason = format!("Input should be a whole number from 1 to {MOST}");
                    page.limit = limit.ok_or_else(|| InvalidRequest::new("limit", reason))?;
                }
                "after_id" => page.after = Some(value.clone()).filter(|value| !value.is_empty()),
                _ if known.contains(&name.as_str()) => {}
                _ => {
                    let names = ["limit", "after_id"].iter().chain(known).copied().collect::<Vec<_>>();
                    let reason = format!("there is no such parameter; use {}", names.join(", "));
                    return Err(InvalidRequest::new(shortened(&name), reason));
                }
            }
            pairs.push((name, value));
        }
        Ok(Self { page, pairs })
    }

    /// The value of a parameter, which may be empty.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// Whether a parameter is `true`; without a value it is not.
    pub(super) fn flag(&self, name: &'static str) -> Result<bool, InvalidRequest> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(InvalidRequest::new(name, "Input should be true or false")),
        }
    }

    /// As [`Query::text`], owned.
    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// Whether the response is CSV: by the parameter `format`, else by the header `accept`. A CSV has all rows.
    pub(super) fn wants_csv(&self, headers: &HeaderMap) -> Result<bool, InvalidRequest> {
        let accepts = |value: &HeaderValue| {
            let types = value.to_str().unwrap_or_default().split(',');
            types.into_iter().any(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/csv"))
        };
        let is_csv = match self.text("format") {
            Some("csv") => true,
            Some("json") => false,
            Some(_) => return Err(InvalidRequest::new("format", "Input should be csv or json")),
            None => headers.get_all(header::ACCEPT).iter().any(accepts),
        };
        let page_parameter = ["limit", "after_id"].into_iter().find(|name| self.given(name).is_some());
        if is_csv && let Some(name) = page_parameter {
            return Err(InvalidRequest::new(name, "a CSV has all rows; leave the parameter out"));
        }
        Ok(is_csv)
    }

    /// Report of these days; by default by user.
    pub(super) fn usage(&self, from: String, to: String) -> Result<UsageQuery, InvalidRequest> {
        let by = Dimensions::parse(self.text("by").unwrap_or("user"));
        Ok(UsageQuery {
            from,
            to,
            by: by.map_err(|reason| InvalidRequest::new("by", reason))?,
            user_id: self.owned("user_id"),
            team: self.owned("team"),
            model: self.owned("model"),
            client: self.owned("client"),
            session_id: self.owned("session_id"),
        })
    }

    /// Which events: `from` is inclusive and `to` is not, both in RFC 3339.
    pub(super) fn events(&self) -> Result<EventFilter, InvalidRequest> {
        let moment = |name: &'static str| {
            let moment = self.text(name).map(str::parse::<Timestamp>).transpose();
            let moment =
                moment.map_err(|_| InvalidRequest::new(name, "use a time such as 2026-11-22T12:00:00Z"));
            Ok(moment?.map(Timestamp::as_millisecond))
        };
        Ok(EventFilter {
            kind: self.owned("kind"),
            user_id: self.owned("user_id"),
            team: self.owned("team"),
            actor: self.owned("actor"),
            from: moment("from")?,
            until: moment("to")?,
        })
    }
}
