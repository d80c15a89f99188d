//! Receiving, from the start to the last answer.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use attestation::{escape::escape, platform::Machine, tpm::Makers, x509::BUNDLE_BYTES_MAX};
use collector_api::collector_server::CollectorServer;
use mtls::Identity;
use testimony_verify::files::read_at_most;
use tokio::{net::TcpListener, sync::oneshot};
use tonic::transport::Server;

use crate::{
    alerts, api,
    beside::Beside,
    confine,
    counts::Counts,
    enrol::Enrolling,
    gate::{LINES_MAX, LINES_PER, admit},
    intake::{FRAMING_BYTES_MAX, Intake, SUBMISSION_BYTES_MAX},
    judge::Judge,
    keep, key,
    orders::{Order, Orders},
    peers::{Peers, STREAMS_MAX},
    receive::Receiver,
    settings::{Enrolment, Settings},
    store::{Reader, Store},
    trusted::Trusted,
};

/// How long streams may take to end once it is told to stop, and then what is being verified.
const STOP_MAX: Duration = Duration::from_secs(3);

/// What is taken of a connection before anybody asks for it, in all and of one of its streams.
const WINDOWS: [u32; 2] = [256 << 10, 128 << 10];
/// How long a connection stands: a certificate that has expired since is of no use to the next one.
const CONNECTION_MAX: Duration = Duration::from_secs(3600);
/// Between two questions whether a node is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// All that is read from files before anything listens.
struct Prepared {
    trusted: Arc<Trusted>,
    enrolling: Enrolling,
}

impl Prepared {
    fn read(settings: &Settings) -> anyhow::Result<Self> {
        let trusted = Arc::new(Trusted::read(&settings.trust)?);
        Ok(Self { trusted, enrolling: enrolling(&settings.enrolment)? })
    }
}

/// Looks at everything that the configuration names, and changes nothing.
///
/// # Errors
/// What cannot be used.
pub(crate) fn check(settings: &Settings) -> anyhow::Result<()> {
    prepare(settings)?;
    if let Some(api) = &settings.api {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(api::check(api, &settings.tls))?;
    }
    // A Workload API is asked when it starts; files can be looked at now.
    if let identity @ Identity::Files(_) = identity(settings)? {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(mtls::Server::new(&identity, settings.peers.allowed())).context("[tls]")?;
    }
    println!("the configuration can be used");
    Ok(())
}

/// Looks at what decides whether statements are taken.
///
/// # Errors
/// What cannot be used.
pub(crate) fn prepare(settings: &Settings) -> anyhow::Result<()> {
    Prepared::read(settings)?;
    alerts::check(&settings.alerts)
}

/// Receives until it is told to stop, by each configuration that it is told to read again, and with no rights but those it needs.
///
/// # Errors
/// Why it could not start, or had to end.
pub(crate) fn run(mut settings: Settings, config: &Path) -> anyhow::Result<()> {
    let rights = confine::hold(config, &settings)?;
    let mut orders = Orders::listen(config, &settings)?;
    while let Order::Renew(renewed) = receive(&settings, &rights, &mut orders)? {
        settings = *renewed;
    }
    Ok(())
}

/// Receives until something else is to come; what was handed over by then is answered.
fn receive(settings: &Settings, rights: &str, orders: &mut Orders) -> anyhow::Result<Order> {
    let prepared = Prepared::read(settings)?;
    let (identity, signer) = (identity(settings)?, key::open(settings)?);
    let log_key = signer.key().to_string();
    let store =
        Store::open(&settings.state, settings.store.limits()).with_context(|| settings.state.display().to_string())?;
    let machines = machines(settings)?;
    let size = store.size();
    let (keeper, thread) = keep::start(store, signer)?;
    let trusted = prepared.trusted;
    let judge = Arc::new(Judge::new(Arc::clone(&trusted), machines));
    let peers = Arc::new(Peers::new(&settings.limits));
    let reader = Reader::open(&settings.state)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let beside = Beside::start(settings, runtime.handle())?;
    let observed = beside.observed.clone();
    let receiver = Receiver::new(judge, keeper, prepared.enrolling, reader, Arc::clone(&peers), observed);
    let served = runtime.block_on(async {
        // Who we are before anybody is listened to.
        let tls = mtls::Server::new(&identity, settings.peers.allowed()).await.context("[tls]")?;
        let bundles = tls.bundles();
        if let Some(bundles) = bundles.as_ref().filter(|_| settings.trust.workload_api) {
            trusted.take(bundles).map_err(|says| anyhow::anyhow!("[trust] workload_api: {says}"))?;
        }
        tokio::spawn(Arc::clone(&trusted).follow(bundles));
        beside.listen(settings).await?;
        let listener = TcpListener::bind(&settings.listen).await.with_context(|| settings.listen.clone())?;
        let address = listener.local_addr()?;
        eprintln!("testimony-collector: listening on {address}, log {log_key}, {size} statements; {rights}");
        let service =
            CollectorServer::new(receiver).max_decoding_message_size(SUBMISSION_BYTES_MAX + FRAMING_BYTES_MAX);
        notify::ready();
        let (tell, told) = oneshot::channel();
        let mut next = Order::Stop;
        let stopped = async {
            next = orders.next().await;
            let _ = tell.send(());
        };
        // A node's stream stays open as long as it likes: what is not answered by then is sent again.
        let late = async {
            let _ = told.await;
            tokio::time::sleep(STOP_MAX).await;
        };
        let server = Server::builder().max_concurrent_streams(STREAMS_MAX).http2_keepalive_interval(Some(KEEP_ALIVE));
        let server = server.max_connection_age(CONNECTION_MAX).max_connection_age_grace(STOP_MAX);
        let [of_connection, of_stream] = WINDOWS;
        let server = server.initial_connection_window_size(of_connection).initial_stream_window_size(of_stream);
        let server = { server }.add_service(Intake::new(service, Arc::clone(&peers)));
        let connections = admit(tls.on_refused(refused(&beside.observed.metrics)).accept(listener), peers);
        tokio::select! {
            served = server.serve_with_incoming_shutdown(connections, stopped) => served?,
            () = late => {}
            () = ended(&thread) => anyhow::bail!("the thread that writes ended early"),
            never = notify::watch() => match never {},
        }
        anyhow::Ok(next)
    });
    // Who notes and who tells end while there is a runtime to tell by.
    drop(beside);
    runtime.shutdown_timeout(STOP_MAX);
    // Nobody gives it work any more.
    thread.join().map_err(|_| anyhow::anyhow!("the thread that writes ended early"))?;
    served
}

/// Says why connections are not taken, at a limited rate: whoever reaches the port can have that said.
pub(crate) fn refused(counts: &Arc<Counts>) -> impl Fn(mtls::Refused) + Send + Sync + use<> {
    let (rate, counts) = (mtls::Rate::new(LINES_MAX, LINES_PER), Arc::clone(counts));
    move |refused| {
        counts.connection_refused();
        rate.tell(|more| {
            let why = std::error::Error::source(&refused).map(ToString::to_string).unwrap_or_default();
            let why = escape(why.as_bytes());
            eprintln!("testimony-collector: {refused}: {why}{more}");
        });
    }
}

/// Waits for a thread that never ends by itself.
async fn ended(thread: &std::thread::JoinHandle<()>) {
    while !thread.is_finished() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn identity(settings: &Settings) -> anyhow::Result<Identity> {
    // That it is one was held when it was read.
    settings.tls.identity().map_err(|_| anyhow::anyhow!("[tls] no identity"))
}

fn machines(settings: &Settings) -> anyhow::Result<Vec<Machine>> {
    let enrolled = Reader::open(&settings.state)?.machines()?;
    let read = |enrolled: crate::store::Enrolled| Machine::read(&enrolled.machine).with_context(|| enrolled.name);
    enrolled.into_iter().map(read).collect()
}

fn enrolling(settings: &Enrolment) -> anyhow::Result<Enrolling> {
    let mut pem = Vec::new();
    for path in &settings.makers {
        let read = read_at_most(path, BUNDLE_BYTES_MAX as u64 + 1);
        pem.extend(read.with_context(|| format!("[enrolment] makers: {}", path.display()))?);
        pem.push(b'\n');
    }
    let makers = if pem.is_empty() { None } else { Some(Makers::read(&pem).context("[enrolment] makers")?) };
    let Enrolment { trust_on_first_use: first_use, seal_pcr, bind_spiffe_id, lifetime, .. } = *settings;
    Ok(Enrolling { makers, first_use, seal_pcr, bind_spiffe_id, lifetime_s: lifetime.get() })
}
