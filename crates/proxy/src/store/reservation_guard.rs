//! A reservation on its way. Whoever asked may be gone before the database has answered; what it then grants is given
//! back, rather than counting against its user until it expires.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Reservation, ReserveOutcome, Result, Store};

/// A [`Reservation`] of its own.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    id: String,
    holder: String,
    user_id: String,
    team: Option<String>,
    numbers: Reservation<'static>,
}

impl Wanted {
    /// As `wanted`, its times later by `waited` milliseconds.
    pub(super) fn of(wanted: &Reservation<'_>, waited: i64) -> Self {
        Self {
            id: wanted.id.to_owned(),
            holder: wanted.holder.to_owned(),
            user_id: wanted.user_id.to_owned(),
            team: wanted.team.map(str::to_owned),
            numbers: Reservation {
                id: "",
                holder: "",
                user_id: "",
                team: None,
                expires_at: wanted.expires_at.saturating_add(waited),
                now: wanted.now.saturating_add(waited),
                period: wanted.period,
                tokens: wanted.tokens,
                user_limit: wanted.user_limit,
                team_limit: wanted.team_limit,
            },
        }
    }

    pub(super) fn borrowed(&self) -> Reservation<'_> {
        Reservation {
            id: &self.id,
            holder: &self.holder,
            user_id: &self.user_id,
            team: self.team.as_deref(),
            ..self.numbers
        }
    }
}

/// Resolves to what the database says. Dropped before, the statement is run to its end beside requests and undone.
pub(super) struct Asking {
    asked: Option<Pin<Box<dyn Future<Output = Result<ReserveOutcome>> + Send>>>,
    id: String,
    store: Store,
}

impl Asking {
    pub(super) fn new(store: &Store, wanted: Wanted) -> Self {
        let (id, own) = (wanted.id.clone(), store.clone());
        let asked = Box::pin(async move { own.ask(&wanted.borrowed()).await });
        Self { asked: Some(asked), id, store: store.clone() }
    }
}

impl Future for Asking {
    type Output = Result<ReserveOutcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<ReserveOutcome>> {
        let Some(asked) = &mut self.asked else { return Poll::Pending };
        let answer = asked.as_mut().poll(context);
        if answer.is_ready() {
            self.asked = None;
        }
        answer
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(asked) = self.asked.take() else { return };
        let (store, id) = (self.store.clone(), std::mem::take(&mut self.id));
        self.store.0.tasks.spawn(async move {
            let granted = matches!(asked.await, Ok(ReserveOutcome::Reserved(_)));
            if granted && let Err(error) = store.release(&[id]).await {
                // Nobody renews it.
                tracing::debug!(%error, "a reservation that nobody wants any more stands until it expires");
            }
        });
    }
}
