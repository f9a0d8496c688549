//! Names to addresses, by the system's resolver.
//!
//! The system's resolver takes a thread for each lookup and cannot be interrupted. So a name is looked up once
//! at a time, for all exchanges that wait: a name server that hangs would otherwise take all threads, and every
//! other name with them.

use std::{io, net::SocketAddr, sync::Arc};

use as2hook_sink::happy_eyeballs;
use dashmap::DashMap;
use tokio::{net::lookup_host, sync::watch};

/// The names that are looked up: those of the config, so there are not many.
#[derive(Debug, Default)]
pub(crate) struct Lookups(DashMap<String, watch::Receiver<Option<Found>>>);

/// What a lookup found. The ports are not set.
type Found = Result<Vec<SocketAddr>, Arc<io::Error>>;

// === impl Lookups ===

impl Lookups {
    /// The addresses of a name, in the order in which they are to be tried.
    pub(super) async fn look_up(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, Arc<io::Error>> {
        let lookup =
            async |host: String| Ok(happy_eyeballs::in_order(lookup_host((host, 0)).await?));
        let mut found = self.shared(host, move |host| Box::pin(lookup(host))).await?;
        found.iter_mut().for_each(|address| address.set_port(port));
        Ok(found)
    }

    /// The result of the lookup that ends next. An error counts only of a lookup that began after this call:
    /// one that began before may have been waited for in vain.
    async fn shared<F>(&self, host: &str, lookup: impl Fn(String) -> F) -> Found
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        let (mut under_way, is_new) = self.under_way(host, &lookup);
        match result(&mut under_way).await {
            Err(_) if !is_new => result(&mut self.under_way(host, &lookup).0).await,
            found => found,
        }
    }

    /// The lookup of this name that is under way, or a new one. It goes on when it is no longer waited for.
    fn under_way<F>(
        &self,
        host: &str,
        lookup: &impl Fn(String) -> F,
    ) -> (watch::Receiver<Option<Found>>, bool)
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        let (sender, receiver) = watch::channel(None);
        let mut last = self.0.entry(host.to_owned()).or_insert_with(|| receiver.clone());
        // Its sender is there until it ends.
        let is_new = last.same_channel(&receiver) || last.has_changed().is_err();
        if is_new {
            *last = receiver;
            let lookup = lookup(host.to_owned());
            tokio::spawn(async move { sender.send(Some(lookup.await.map_err(Arc::new))) });
        }
        (last.clone(), is_new)
    }
}

async fn result(lookup: &mut watch::Receiver<Option<Found>>) -> Found {
    let found = lookup.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
    found.unwrap_or_else(|| Err(Arc::new(io::Error::other("the lookup was broken off"))))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use tokio::{
        task::JoinSet,
        time::{sleep, timeout},
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 0))
    }

    #[tokio::test(start_paused = true)]
    async fn exchanges_that_wait_for_one_name_share_one_lookup() {
        for is_there in [true, false] {
            let lookups = Arc::new(Lookups::default());
            let begun = Arc::new(AtomicUsize::new(0));
            let mut exchanges = JoinSet::new();
            for _ in 0..80 {
                let (lookups, begun) = (lookups.clone(), begun.clone());
                exchanges.spawn(async move {
                    let lookup = |_| {
                        begun.fetch_add(1, Ordering::Relaxed);
                        async move {
                            sleep(SECOND).await;
                            is_there.then(|| vec![address()]).ok_or(io::ErrorKind::NotFound.into())
                        }
                    };
                    lookups.shared("name", lookup).await
                });
            }
            for found in exchanges.join_all().await {
                assert_eq!(found.ok(), is_there.then(|| vec![address()]));
            }
            // What fails is tried once more for those that did not begin it.
            assert_eq!(begun.load(Ordering::Relaxed), if is_there { 1 } else { 2 });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lookup_behind_an_abandoned_one_that_fails_has_its_own_result() {
        let lookups = Lookups::default();
        let hanging = |_| async {
            sleep(10 * SECOND).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        let abandoned = timeout(5 * SECOND, lookups.shared("name", hanging)).await;
        assert!(abandoned.is_err());
        sleep(SECOND).await;
        let found = lookups.shared("name", |_| async { Ok(vec![address()]) }).await;
        assert_eq!(found.unwrap(), [address()]);
    }

    #[tokio::test(start_paused = true)]
    async fn name_is_looked_up_again_by_the_next_exchange() {
        let lookups = Lookups::default();
        let found = lookups.shared("name", |_| async { Ok(vec![address()]) }).await;
        assert_eq!(found.unwrap(), [address()]);
        let found = lookups.shared("name", |_| async { Ok(Vec::new()) }).await;
        assert!(found.unwrap().is_empty());
    }
}
