//! `/console/live`: server-sent events for the pages of one site.
//!
//! One task for each site that is watched looks at the store once a second and sends what is new to all its
//! viewers; it ends with the last of them, and traffic knows nothing of it. The events:
//!
//! | name | data |
//! |---|---|
//! | `row` | an exchange as a row of the overview, new or changed; its `data-id` is the event's id |
//! | `heading` | the overview's conclusion |
//! | `figures`, `route` | the content of the elements with that `data-live` |
//! | `exchange` | the digest of the exchange that the query names, when it is another one; see [`super::watched`] |
//! | `webhook` | a webhook's state, for elements with its `data-webhook` |

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use as2hook_config::TokenScope;
use as2hook_store::StoreError;
use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use futures_util::stream;
use maud::html;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        broadcast::{self, error::RecvError},
        watch,
    },
    time::{MissedTickBehavior, interval, timeout},
};
use uuid::Uuid;

use super::{
    overview::{LIVE_ROWS, TodoList, route_stops, tiles},
    rows::{NewestRows, live_row},
    session::Session,
    standing::{Standing, webhook_chip},
    watched::{self, WatchedExchange},
};
use crate::{caller::Caller, error::ApiError, gateway::ApiState};

/// How often the store is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Figures, and exchanges that only other gateways know of, are looked at each so many ticks.
const FIGURES_TICKS: u64 = 5;

/// For so many ticks after an exchange, its deliveries are looked at.
const DELIVERED_TICKS: u64 = 3;

/// Events that a viewer may be behind; the stream of one that is slower ends, and its browser begins another.
/// More than all states of a site, which come at once.
const BEHIND: usize = 2 * WEBHOOKS;

/// The most viewers: each has a connection of the listener's 256.
const VIEWERS: usize = 100;

/// How often a viewer's token is checked again at least.
const CHECK: Duration = Duration::from_secs(5);

/// Webhooks whose states are sent.
const WEBHOOKS: usize = 500;

/// The sites that are watched.
pub(crate) struct LiveHub {
    sites: Mutex<HashMap<String, broadcast::Sender<LiveEvent>>>,
    viewers: Arc<Semaphore>,
    /// True: another process has the listener.
    handed_on: watch::Receiver<bool>,
}

/// An event for all viewers of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LiveEvent {
    name: &'static str,
    data: Arc<str>,
}

/// What was sent last, so that only changes are.
#[derive(Default)]
struct LastSent {
    rows: HashMap<Uuid, Arc<str>>,
    others: HashMap<String, Arc<str>>,
}

/// What a viewer looks at besides.
#[derive(Deserialize)]
struct LiveQuery {
    exchange: Option<String>,
}

/// One viewer's side of the stream.
struct Viewer {
    api: ApiState,
    session: Session,
    first: std::vec::IntoIter<LiveEvent>,
    events: broadcast::Receiver<LiveEvent>,
    handed_on: watch::Receiver<bool>,
    watched: Option<WatchedExchange>,
    _permit: OwnedSemaphorePermit,
}

pub(super) fn routes() -> Router<ApiState> {
    Router::new().route("/console/live", get(live))
}

async fn live(
    State(api): State<ApiState>,
    session: Session,
    Query(query): Query<LiveQuery>,
) -> Result<Response, ApiError> {
    session.caller.needs(TokenScope::Read)?;
    let Ok(permit) = api.live.viewers.clone().try_acquire_owned() else {
        return Ok(StatusCode::SERVICE_UNAVAILABLE.into_response());
    };
    let watched = match &query.exchange {
        Some(id) => Some(WatchedExchange::find(&api, &session.caller, id).await?),
        None => None,
    };
    let events = api.live.subscribe(&api, session.caller.site());
    // What came between the page and its stream.
    let mut first = Vec::new();
    let mut sent = LastSent::default();
    let changes = sent.changes(&api, &session.caller, true, |event| first.push(event));
    if let Err(error) = changes.await {
        // The heading says so.
        tracing::debug!(%error, "The console's stream begins without rows.");
    }
    let handed_on = api.live.handed_on.clone();
    let first = first.into_iter();
    let viewer = Viewer { api, session, first, events, handed_on, watched, _permit: permit };
    let stream = stream::unfold(viewer, |mut viewer| async {
        let LiveEvent { name, data } = viewer.next().await?;
        Some((Ok::<_, Infallible>(Event::default().event(name).data(data)), viewer))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

// === impl LiveHub ===

impl LiveHub {
    pub(crate) fn new(handed_on: watch::Receiver<bool>) -> Self {
        Self { sites: Mutex::default(), viewers: Arc::new(Semaphore::new(VIEWERS)), handed_on }
    }

    /// Returns the events of a site from now on; the first viewer begins them.
    fn subscribe(&self, api: &ApiState, site: &str) -> broadcast::Receiver<LiveEvent> {
        let mut sites = self.sites.lock();
        if let Some(sender) = sites.get(site) {
            return sender.subscribe();
        }
        let (sender, receiver) = broadcast::channel(BEHIND);
        sites.insert(site.to_owned(), sender.clone());
        tokio::spawn(watch_site(api.clone(), site.to_owned(), sender));
        receiver
    }

    /// Whether a site has no viewer any more; it is forgotten then.
    fn is_left(&self, site: &str, sender: &broadcast::Sender<LiveEvent>) -> bool {
        let mut sites = self.sites.lock();
        let is_left = sender.receiver_count() == 0;
        if is_left {
            sites.remove(site);
        }
        is_left
    }
}

/// Sends what is new in a site, as long as it has viewers.
async fn watch_site(api: ApiState, site: String, sender: broadcast::Sender<LiveEvent>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = LastSent::default();
    let (mut exchanges, mut quiet) = (None, 0);
    for tick in 0_u64.. {
        ticks.tick().await;
        if api.live.is_left(&site, &sender) {
            return;
        }
        let now = api.gateway.activity().last_hour(&site);
        quiet = if exchanges.replace(now) == Some(now) { quiet + 1 } else { 0 };
        let is_whole = tick.is_multiple_of(FIGURES_TICKS);
        if quiet > DELIVERED_TICKS && !is_whole {
            continue;
        }
        let caller = Caller::viewer(api.gateway.config(), &site);
        let send = |event| drop(sender.send(event));
        let changes = sent.changes(&api, &caller, is_whole, send).await;
        if let Err(error) = changes {
            tracing::debug!(%error, site, "The console's stream could not read the store.");
        }
    }
}

// === impl LastSent ===

impl LastSent {
    /// Sends what has changed since the last call. `is_whole`: figures too.
    async fn changes(
        &mut self,
        api: &ApiState,
        caller: &Caller,
        is_whole: bool,
        mut send: impl FnMut(LiveEvent),
    ) -> Result<(), StoreError> {
        // First what says that the store does not respond.
        if is_whole {
            let standing = Standing::read(api, caller).await;
            let heading = TodoList::find(api, caller, &standing).heading();
            self.other("heading", "heading", &html! { (heading) }.0, &mut send);
            let figures = tiles(api, caller, &standing).await;
            self.other("figures", "figures", &figures.0, &mut send);
            let route = route_stops(api, caller, &standing);
            self.other("route", "route", &route.0, &mut send);
            for (rule, health) in standing.webhooks.iter().take(WEBHOOKS) {
                let chip = webhook_chip(api, rule, health.as_ref());
                let html = html! { span data-webhook=(rule.name) { (chip) } };
                self.other(&rule.name, "webhook", &html.0, &mut send);
            }
        }
        let NewestRows { rows, tallies } = NewestRows::read(api, caller, LIVE_ROWS).await?;
        let known = std::mem::take(&mut self.rows);
        for row in rows.iter().rev() {
            let html = text(&live_row(row, &tallies, !known.contains_key(&row.id)).0);
            if known.get(&row.id).is_none_or(|was| !is_alike(was, &html)) {
                send(LiveEvent { name: "row", data: html.clone() });
            }
            self.rows.insert(row.id, html);
        }
        Ok(())
    }

    fn other(
        &mut self,
        key: &str,
        name: &'static str,
        html: &str,
        send: &mut impl FnMut(LiveEvent),
    ) {
        let (key, html) = (format!("{name} {key}"), text(html));
        if self.others.get(&key) != Some(&html) {
            send(LiveEvent { name, data: html.clone() });
            self.others.insert(key, html);
        }
    }
}

/// A row that was new differs from itself by that alone.
fn is_alike(before: &str, now: &str) -> bool {
    before == now || before.replacen(" class=\"new\"", "", 1) == now
}

/// A carriage return would end a line of the stream.
fn text(html: &str) -> Arc<str> {
    html.replace('\r', " ").into()
}

// === impl Viewer ===

impl Viewer {
    /// Returns the next event; `None` when the session has ended, or the gateway's listener is another process's.
    async fn next(&mut self) -> Option<LiveEvent> {
        if let Some(event) = self.first.next() {
            return Some(event);
        }
        loop {
            if !self.session.is_valid(&self.api) {
                return None;
            }
            if let Some(watched) = &mut self.watched
                && let Some(digest) = watched.changed(&self.api).await
            {
                return Some(LiveEvent { name: "exchange", data: digest.into() });
            }
            let pause = if self.watched.is_some() { watched::PAUSE } else { CHECK };
            tokio::select! {
                _ = self.handed_on.wait_for(|handed_on| *handed_on) => return None,
                event = timeout(pause, self.events.recv()) => match event {
                    Ok(Ok(event)) => return Some(event).filter(|_| self.session.is_valid(&self.api)),
                    // One that missed events begins anew, with the whole state.
                    Ok(Err(RecvError::Closed | RecvError::Lagged(_))) => return None,
                    Err(_) => {}
                },
            }
        }
    }
}
