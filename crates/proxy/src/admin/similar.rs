//! Names that resemble an unknown one, for the errors about users and teams.

use super::{Admin, AdminError};
use crate::store::{Page, StoreError};

/// Maximum number of suggested names.
const MAX_SUGGESTIONS: usize = 3;
/// Maximum edit distance of a suggested name; a short name may differ in one letter.
const MAX_DISTANCE: usize = 3;
/// Maximum pages of 1000 names that are compared.
const MAX_COMPARED_PAGES: usize = 20;

impl Admin {
    /// Converts an error of the store about a user. That of an unknown user has similar names.
    pub(super) async fn user_error(&self, error: StoreError, user_id: &str) -> AdminError {
        let object = format!("user {user_id:?}");
        match error {
            StoreError::NotFound => {
                AdminError::NotFound(format!("{object}{}", suggestion(&self.similar_users(user_id).await)))
            }
            error => AdminError::from_store(error, &object),
        }
    }

    /// As [`Admin::user_error`], of a team. Without a similar name, `advice` is appended.
    pub(super) async fn team_error(&self, error: StoreError, team: &str, advice: &str) -> AdminError {
        let object = format!("team {team:?}");
        match error {
            StoreError::NotFound => match suggestion(&self.similar_teams(team).await) {
                meant if meant.is_empty() => AdminError::NotFound(format!("{object}{advice}")),
                meant => AdminError::NotFound(format!("{object}{meant}")),
            },
            error => AdminError::from_store(error, &object),
        }
    }

    /// Names of users that resemble `name`, most similar first; none if they cannot be read.
    pub(super) async fn similar_users(&self, name: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut page = Page { after: None, limit: 1000 };
        for _ in 0..MAX_COMPARED_PAGES {
            let Ok(users) = self.store.users(None, &page).await else { break };
            names.extend(users.rows.into_iter().map(|user| user.user_id));
            page.after = users.next;
            if page.after.is_none() {
                break;
            }
        }
        similar(name, names.iter().map(String::as_str))
    }

    async fn similar_teams(&self, name: &str) -> Vec<String> {
        let teams = self.store.teams(&Page { after: None, limit: 1000 }).await;
        let names: Vec<_> =
            teams.map(|teams| teams.rows.into_iter().map(|team| team.team).collect()).unwrap_or_default();
        similar(name, names.iter().map(String::as_str))
    }
}

/// Those of `names` that resemble `name`, most similar first.
pub(super) fn similar<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let max_distance = (name.chars().count() / 4).clamp(1, MAX_DISTANCE);
    let name = name.to_lowercase();
    let mut similar: Vec<_> = names
        .filter_map(|other| {
            let distance = strsim::damerau_levenshtein(&name, &other.to_lowercase());
            (distance <= max_distance).then_some((distance, other))
        })
        .collect();
    similar.sort_unstable();
    similar.into_iter().map(|(_, name)| name.to_owned()).take(MAX_SUGGESTIONS).collect()
}

/// The question behind an error about an unknown name; empty without similar names.
pub(super) fn suggestion(similar: &[String]) -> String {
    let names: Vec<_> = similar.iter().map(|name| format!("{name:?}")).collect();
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_suggested() {
        let names = ["payments", "Platform", "research"];
        let suggested = |name| suggestion(&similar(name, names.into_iter()));
        assert_eq!(suggested("paymets"), "; did you mean \"payments\"?");
        assert_eq!(suggested("platform"), "; did you mean \"Platform\"?");
        assert_eq!(suggested("sales"), "");
    }
}
