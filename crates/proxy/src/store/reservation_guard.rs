//! Reservation in progress. A caller may be gone before the database has responded; what is then reserved is released,
//! instead of counting against the user until it expires.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Reservation, ReserveOutcome, Result, Store};

/// A [`Reservation`] that owns its texts.
#[derive(Clone, Debug)]
pub(super) struct OwnedReservation {
    id: String,
    holder: String,
    user_id: String,
    team: Option<String>,
    token: Option<(String, i64)>,
    numbers: Reservation<'static>,
}

impl OwnedReservation {
    /// Copies `reservation`, its times later by `waited_ms` milliseconds.
    pub(super) fn new(reservation: &Reservation<'_>, waited_ms: i64) -> Self {
        Self {
            id: reservation.id.to_owned(),
            holder: reservation.holder.to_owned(),
            user_id: reservation.user_id.to_owned(),
            team: reservation.team.map(str::to_owned),
            token: reservation.token.map(|(jti, limit)| (jti.to_owned(), limit)),
            numbers: Reservation {
                id: "",
                holder: "",
                user_id: "",
                team: None,
                token: None,
                expires_at: reservation.expires_at.saturating_add(waited_ms),
                now: reservation.now.saturating_add(waited_ms),
                period: reservation.period,
                tokens: reservation.tokens,
                user_limit: reservation.user_limit,
                team_limit: reservation.team_limit,
            },
        }
    }

    pub(super) fn borrowed(&self) -> Reservation<'_> {
        Reservation {
            id: &self.id,
            holder: &self.holder,
            user_id: &self.user_id,
            team: self.team.as_deref(),
            token: self.token.as_ref().map(|(jti, limit)| (jti.as_str(), *limit)),
            ..self.numbers
        }
    }
}

/// Future of the database's response. Dropped earlier, the statement runs to its end in the background and is undone.
pub(super) struct ReservationGuard {
    statement: Option<Pin<Box<dyn Future<Output = Result<ReserveOutcome>> + Send>>>,
    id: String,
    store: Store,
}

impl ReservationGuard {
    pub(super) fn new(store: &Store, reservation: OwnedReservation) -> Self {
        let (id, own_store) = (reservation.id.clone(), store.clone());
        let statement = Box::pin(async move { own_store.execute_reserve(&reservation.borrowed()).await });
        Self { statement: Some(statement), id, store: store.clone() }
    }
}

impl Future for ReservationGuard {
    type Output = Result<ReserveOutcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<ReserveOutcome>> {
        let Some(statement) = &mut self.statement else { return Poll::Pending };
        let outcome = statement.as_mut().poll(context);
        if outcome.is_ready() {
            self.statement = None;
        }
        outcome
    }
}

impl Drop for ReservationGuard {
    fn drop(&mut self) {
        let Some(statement) = self.statement.take() else { return };
        let (store, id) = (self.store.clone(), std::mem::take(&mut self.id));
        self.store.0.tasks.spawn(async move {
            let reserved = matches!(statement.await, Ok(ReserveOutcome::Reserved(_)));
            if reserved && let Err(error) = store.release(&[id]).await {
                // It is not renewed, so it expires.
                tracing::debug!(%error, "abandoned reservation not released; it will expire");
            }
        });
    }
}
