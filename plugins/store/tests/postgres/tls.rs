//! TLS to the database: encryption and verification.

use as2hook_store::{PostgresOptions, PostgresStore, Store, StoreError};
use as2hook_testing::{Postgres, pki};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_certificate_is_verified_as_sslmode_says() {
    let mut postgres = Postgres::start();
    let plain = postgres.url();
    let refused = connect(&format!("{plain}?sslmode=require")).await.err().unwrap();
    assert!(matches!(refused, StoreError::Unreachable(_)), "{refused}");
    postgres.speak_tls();

    let folder = tempfile::tempdir().unwrap();
    let (ours, _) = pki::authority().write(folder.path()).unwrap();
    let (other, _) = pki::stranger().write(folder.path()).unwrap();
    let (ours, other) = (ours.display(), other.display());
    // The same server by a name that its certificate does not have.
    let alias = plain.replace("127.0.0.1", "other.example");
    for (url, taken) in [
        (format!("{plain}?sslmode=require"), true),
        (format!("{plain}?sslmode=verify-full&sslrootcert={ours}"), true),
        (format!("{plain}?sslmode=verify-full&sslrootcert={other}"), false),
        (format!("{plain}?sslmode=verify-ca&sslrootcert={other}"), false),
        (format!("{plain}?sslmode=require&sslrootcert={other}"), false),
        (format!("{alias}?hostaddr=127.0.0.1&sslmode=verify-ca&sslrootcert={ours}"), true),
        (format!("{alias}?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={ours}"), false),
    ] {
        let connected = connect(&url).await;
        assert_eq!(connected.is_ok(), taken, "{url}: {:?}", connected.err());
        let Ok(store) = connected else { continue };
        store.counts().await.unwrap();
        let open = postgres.sql(
            "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
            WHERE usename = 'as2hook' AND NOT ssl",
        );
        assert_eq!(open, "0", "{url}");
        store.close().await;
    }
}

async fn connect(url: &str) -> Result<PostgresStore, StoreError> {
    PostgresStore::connect(url, PostgresOptions::default()).await
}
