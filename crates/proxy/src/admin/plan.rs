//! The plan from the users and teams that are stored to those of a file: for bulk imports and declarative files.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use super::similar::{similar, suggestion};
use super::users::{check_name, check_profile, team_state, user_state};
use super::{Admin, AdminError, Result, TeamChange, UserChange};
use crate::store::{Page, Team, User};

/// Rows of one page when all users or teams are read.
const PAGE_ROWS: i64 = 1000;
/// Mistakes in one message: more than a person mends at once.
const MAX_MISTAKES: usize = 100;

/// A user or team of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<C> {
    /// Name.
    pub(crate) name: String,
    /// Place in the file, such as `line 3`.
    pub(crate) place: String,
    /// Values; one that the file does not have is kept.
    pub(crate) change: C,
}

/// Users and teams of a file; `None` if the file says nothing about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declaration {
    /// Teams.
    pub(crate) teams: Option<Vec<Entry<TeamChange>>>,
    /// Users.
    pub(crate) users: Option<Vec<Entry<UserChange>>>,
    /// Mistakes that were found while the file was read.
    pub(crate) mistakes: Vec<String>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    AddTeam(TeamChange),
    ChangeTeam(TeamChange),
    AddUser(UserChange),
    ChangeUser(UserChange),
    RemoveUser,
    RemoveTeam,
}

/// One change of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    name: String,
    action: Action,
    before: Value,
    after: Value,
}

/// The changes that lead to a file, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    steps: Vec<Step>,
    unchanged: usize,
}

impl Action {
    /// Verb and kind of the object.
    fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::AddTeam(_) => ("add", "team"),
            Self::ChangeTeam(_) => ("change", "team"),
            Self::AddUser(_) => ("add", "user"),
            Self::ChangeUser(_) => ("change", "user"),
            Self::RemoveUser => ("remove", "user"),
            Self::RemoveTeam => ("remove", "team"),
        }
    }
}

impl Plan {
    /// Number of changes.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// The plan as JSON.
    #[must_use]
    pub(crate) fn to_json(&self, is_applied: bool) -> Value {
        let change = |step: &Step| {
            let (action, object) = step.action.words();
            json!({
                "type": "change", "action": action, "object": object, "name": step.name, "before": step.before,
                "after": step.after,
            })
        };
        let changes: Vec<_> = self.steps.iter().map(change).collect();
        json!({"type": "plan", "changes": changes, "unchanged": self.unchanged, "applied": is_applied})
    }

    /// The plan for people: a line for each change, and a summary.
    #[must_use]
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            let (action, object) = step.action.words();
            let sign = match action {
                "add" => '+',
                "change" => '~',
                _ => '-',
            };
            let values = describe_values(&step.before, &step.after);
            text.push_str(format!("{sign} {object} {}  {values}", step.name).trim_end());
            text.push('\n');
        }
        let count = |verb| self.steps.iter().filter(|step| step.action.words().0 == verb).count();
        let [added, changed, removed] = ["add", "change", "remove"].map(count);
        let unchanged = self.unchanged;
        text + &format!("{added} to add, {changed} to change, {removed} to remove, {unchanged} unchanged")
    }
}

/// Values that differ, as `limit 5 → 7`.
fn describe_values(before: &Value, after: &Value) -> String {
    let names = [
        ("team", "team", "none"),
        ("daily_token_limit", "limit", "unlimited"),
        ("default_inference_profile", "profile", "none"),
        ("disabled", "disabled", ""),
    ];
    let text = |value: &Value, none: &str| match value {
        Value::Null => none.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut values = Vec::new();
    for (member, name, none) in names {
        match (before.get(member), after.get(member)) {
            (Some(before), Some(after)) if before != after => {
                values.push(format!("{name} {} → {}", text(before, none), text(after, none)));
            }
            (None, Some(after)) if *after != Value::Bool(false) && !(after.is_null() && none == "none") => {
                values.push(format!("{name} {}", text(after, none)));
            }
            _ => {}
        }
    }
    values.join(", ")
}

impl Admin {
    /// Makes the plan that leads to `declaration`. With `prune`, users and teams that it does not have are removed, if it
    /// has any of their kind.
    ///
    /// # Errors
    /// With all mistakes of the declaration at once; or when the database is unavailable.
    pub(crate) async fn plan(&self, declaration: &Declaration, prune: bool) -> Result<Plan> {
        let (teams, users) = (self.all_teams().await?, self.all_users().await?);
        let mut planner = Planner {
            mistakes: declaration.mistakes.clone(),
            unchanged: 0,
            teams: &teams,
            users: &users,
            default_limits: (self.new_users.get().user_limit, self.new_users.get().team_limit),
        };
        let mut steps = planner.team_steps(declaration.teams.as_deref().unwrap_or_default());
        let removed_teams = planner.pruned(prune, declaration.teams.as_deref(), &teams);
        let removed_users = planner.pruned(prune, declaration.users.as_deref(), &users);
        let mut final_teams: BTreeSet<&str> = teams.keys().map(String::as_str).collect();
        final_teams.extend(declaration.teams.iter().flatten().map(|entry| entry.name.as_str()));
        final_teams.retain(|team| !removed_teams.contains(team));
        steps.extend(planner.user_steps(declaration.users.as_deref().unwrap_or_default(), &final_teams));
        planner.check_removed_teams(declaration.users.as_deref(), &removed_teams, &removed_users);
        for name in removed_users {
            let before = users.get(name).map(user_state).unwrap_or_default();
            steps.push(Step {
                name: name.to_owned(),
                action: Action::RemoveUser,
                before,
                after: Value::Null,
            });
        }
        for name in removed_teams {
            let before = teams.get(name).map(team_state).unwrap_or_default();
            steps.push(Step {
                name: name.to_owned(),
                action: Action::RemoveTeam,
                before,
                after: Value::Null,
            });
        }
        let mut mistakes = planner.mistakes;
        // Those of a line together: some are found while the file is read, others by the plan.
        mistakes.sort_by_key(|mistake| line_number(mistake));
        if mistakes.is_empty() {
            return Ok(Plan { steps, unchanged: planner.unchanged });
        }
        let count = mistakes.len();
        let mut text =
            format!("{count} {}, nothing is changed:", if count == 1 { "mistake" } else { "mistakes" });
        for mistake in mistakes.iter().take(MAX_MISTAKES) {
            text.push_str("\n  ");
            text.push_str(mistake);
        }
        if count > MAX_MISTAKES {
            text.push_str("\n  …");
        }
        Err(AdminError::Invalid(text))
    }

    /// Makes the changes of a plan, one after the other, each with its event. `on_step` is called after each.
    ///
    /// # Errors
    /// When a change is not possible any more, or the database is unavailable. What is done stays done; a new plan has the
    /// rest.
    pub(crate) async fn execute(&self, plan: &Plan, actor: &str, on_step: impl Fn()) -> Result<()> {
        for Step { name, action, .. } in &plan.steps {
            match action {
                Action::AddTeam(change) => self.add_team(name, change, actor).await.map(drop)?,
                Action::ChangeTeam(change) => self.set_team(name, change, actor).await.map(drop)?,
                Action::AddUser(change) => self.add_user(name, change, actor).await.map(drop)?,
                Action::ChangeUser(change) => self.set_user(name, change, actor).await.map(drop)?,
                Action::RemoveUser => self.remove_user(name, false, actor).await.map(drop)?,
                Action::RemoveTeam => self.remove_team(name, None, actor).await.map(drop)?,
            }
            on_step();
        }
        Ok(())
    }

    async fn all_users(&self) -> Result<BTreeMap<String, User>> {
        let (mut rows, mut page) = (BTreeMap::new(), Page { after: None, limit: PAGE_ROWS });
        loop {
            let found = self.store.users(None, &page).await;
            let found = found.map_err(|error| AdminError::from_store(error, "user"))?;
            rows.extend(found.rows.into_iter().map(|user| (user.user_id.clone(), user)));
            if found.next.is_none() {
                return Ok(rows);
            }
            page.after = found.next;
        }
    }

    async fn all_teams(&self) -> Result<BTreeMap<String, Team>> {
        let (mut rows, mut page) = (BTreeMap::new(), Page { after: None, limit: PAGE_ROWS });
        loop {
            let found = self.store.teams(&page).await;
            let found = found.map_err(|error| AdminError::from_store(error, "team"))?;
            rows.extend(found.rows.into_iter().map(|team| (team.team.clone(), team)));
            if found.next.is_none() {
                return Ok(rows);
            }
            page.after = found.next;
        }
    }
}

/// The line of a mistake in a CSV; 0 for a document, whose mistakes keep their order.
fn line_number(mistake: &str) -> usize {
    let number = mistake.strip_prefix("line ").and_then(|rest| rest.split(':').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// What a plan is made from.
struct Planner<'a> {
    mistakes: Vec<String>,
    unchanged: usize,
    teams: &'a BTreeMap<String, Team>,
    users: &'a BTreeMap<String, User>,
    /// Limits of new users and of new teams.
    default_limits: (Option<i64>, Option<i64>),
}

impl<'a> Planner<'a> {
    fn mistake(&mut self, place: &str, reason: &str) {
        self.mistakes.push(format!("{place}: {reason}"));
    }

    /// Reports malformed names, and names that occur twice.
    fn check_names<C>(&mut self, kind: &str, entries: &[Entry<C>]) {
        let mut places: HashMap<&str, &str> = HashMap::new();
        for Entry { name, place, .. } in entries {
            if let Err(error) = check_name(kind, name) {
                self.mistake(place, &error.to_string());
            }
            if let Some(first) = places.insert(name, place) {
                self.mistake(place, &format!("the {kind} {name:?} occurs in {first} too"));
            }
        }
    }

    fn team_steps(&mut self, entries: &[Entry<TeamChange>]) -> Vec<Step> {
        self.check_names("team", entries);
        let mut steps = Vec::new();
        for Entry { name, change, .. } in entries {
            let current = self.teams.get(name);
            let limit = current.map_or(self.default_limits.1, |team| team.daily_token_limit);
            let after = json!({
                "daily_token_limit": change.daily_token_limit.unwrap_or(limit),
                "disabled": change.disabled.unwrap_or_else(|| current.is_some_and(|team| team.disabled)),
            });
            let before = current.map(team_state).unwrap_or_default();
            let action = if current.is_some() { Action::ChangeTeam } else { Action::AddTeam };
            if before == after {
                self.unchanged += 1;
            } else {
                steps.push(Step { name: name.clone(), action: action(change.clone()), before, after });
            }
        }
        steps
    }

    fn user_steps(&mut self, entries: &[Entry<UserChange>], final_teams: &BTreeSet<&str>) -> Vec<Step> {
        self.check_names("user", entries);
        let mut steps = Vec::new();
        for Entry { name, place, change } in entries {
            let current = self.users.get(name);
            if let Some(Some(team)) = &change.team
                && !final_teams.contains(team.as_str())
            {
                let meant = match suggestion(&similar(team, final_teams.iter().copied())) {
                    meant if meant.is_empty() => "; add it first".to_owned(),
                    meant => meant,
                };
                self.mistake(place, &format!("there is no team {team:?}{meant}"));
            }
            if let Err(error) = check_profile(change.default_inference_profile.as_ref()) {
                self.mistake(place, &error.to_string());
            }
            let kept = |value: fn(&User) -> Option<String>| current.and_then(value);
            let limit = current.map_or(self.default_limits.0, |user| user.daily_token_limit);
            let profile = change.default_inference_profile.clone();
            let after = json!({
                "team": change.team.clone().unwrap_or_else(|| kept(|user| user.team.clone())),
                "daily_token_limit": change.daily_token_limit.unwrap_or(limit),
                "default_inference_profile":
                    profile.unwrap_or_else(|| kept(|user| user.default_inference_profile.clone())),
                "disabled": change.disabled.unwrap_or_else(|| current.is_some_and(|user| user.disabled)),
            });
            let before = current.map(user_state).unwrap_or_default();
            let action = if current.is_some() { Action::ChangeUser } else { Action::AddUser };
            if before == after {
                self.unchanged += 1;
            } else {
                steps.push(Step { name: name.clone(), action: action(change.clone()), before, after });
            }
        }
        steps
    }

    /// Names that are stored, and not in the declaration.
    fn pruned<C, R>(
        &self,
        prune: bool,
        entries: Option<&[Entry<C>]>,
        stored: &'a BTreeMap<String, R>,
    ) -> Vec<&'a str> {
        let Some(entries) = entries.filter(|_| prune) else { return Vec::new() };
        let declared: BTreeSet<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        stored.keys().map(String::as_str).filter(|name| !declared.contains(name)).collect()
    }

    /// Reports users that would stay in a team that is removed.
    fn check_removed_teams(
        &mut self,
        entries: Option<&[Entry<UserChange>]>,
        removed_teams: &[&str],
        removed_users: &[&str],
    ) {
        let mut declared: HashMap<&str, &Entry<UserChange>> = HashMap::new();
        declared.extend(entries.into_iter().flatten().map(|entry| (entry.name.as_str(), entry)));
        for (name, user) in self.users {
            let entry = declared.get(name.as_str());
            let is_moved = entry.is_some_and(|entry| entry.change.team.is_some());
            let Some(team) = user.team.as_deref().filter(|_| !is_moved) else { continue };
            if removed_teams.contains(&team) && !removed_users.contains(&name.as_str()) {
                let place = entry.map_or("--prune", |entry| entry.place.as_str());
                let reason = format!("the user {name:?} is in the team {team:?}, which would be removed");
                self.mistakes.push(format!("{place}: {reason}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_is_described_line_by_line() {
        let step = |name: &str, action, before, after| Step { name: name.to_owned(), action, before, after };
        let ana = json!({"team": null, "daily_token_limit": 5, "default_inference_profile": null, "disabled": false});
        let moved = json!({"team": "red", "daily_token_limit": null, "default_inference_profile": null, "disabled": false});
        let steps = vec![
            step(
                "red",
                Action::AddTeam(TeamChange::default()),
                Value::Null,
                json!({"daily_token_limit": null, "disabled": false}),
            ),
            step("ana", Action::ChangeUser(UserChange::default()), ana.clone(), moved),
            step("ben", Action::RemoveUser, ana, Value::Null),
        ];
        let plan = Plan { steps, unchanged: 4 };
        let expected = "+ team red  limit unlimited\n\
                        ~ user ana  team none → red, limit 5 → unlimited\n\
                        - user ben\n\
                        1 to add, 1 to change, 1 to remove, 4 unchanged";
        assert_eq!(plan.describe(), expected);
        assert_eq!(plan.to_json(true)["changes"][1]["object"], "user");
    }
}
