//! A plugin, for tests: it records what it is asked, and answers as it is told.

use crate::api::{
    ConfigureResponse, Event, FailurePolicy, PostCreateContainerRequest, RegisterPluginRequest,
    SynchronizeRequest, SynchronizeResponse, UpdateContainersRequest, UpdateContainersResponse,
};
use crate::link::{CallError, Incoming, Link};
use crate::node::Reply;
use crate::trunk::{PLUGIN, RUNTIME};
use crate::ttrpc::{self, Status};
use prost::Message;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

const SERVICE: &str = "nri.pkg.api.v1alpha1.Runtime";
/// As many calls as anybody may make at once.
const ROOM: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(60);

/// Something that a plugin is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The method, as `CreateContainer`.
    pub method: String,
    /// Its argument.
    pub payload: Vec<u8>,
}

impl Call {
    /// The argument; what cannot be read is empty.
    pub fn argument<M: Message + Default>(&self) -> M {
        M::decode(self.payload.as_slice()).unwrap_or_default()
    }

    /// The pod that it is about, if it is about one.
    pub fn pod(&self) -> String {
        let both: PostCreateContainerRequest = self.argument();
        both.pod.map(|pod| pod.id).unwrap_or_default()
    }

    /// The container that it is about, if it is about one.
    pub fn container(&self) -> String {
        let both: PostCreateContainerRequest = self.argument();
        both.container.map(|container| container.id).unwrap_or_default()
    }
}

/// How a plugin answers.
pub type Answer = Result<Vec<u8>, Status>;
/// What makes the answers; `None`: an empty message.
pub type Answers = Arc<dyn Fn(Call) -> Reply<'static, Option<Answer>> + Send + Sync>;

/// What a plugin is like.
#[derive(Clone)]
pub struct Manner {
    /// Two digits.
    pub index: String,
    /// Its name.
    pub name: String,
    /// What it subscribes to; none: everything.
    pub events: Vec<Event>,
    /// What is to come of requests that it does not answer.
    pub policy: Option<FailurePolicy>,
    /// What it answers.
    pub answers: Answers,
}

impl Manner {
    /// Of one that subscribes to everything and changes nothing.
    pub fn new(index: &str, name: &str) -> Self {
        let (index, name) = (index.to_owned(), name.to_owned());
        let answers: Answers = Arc::new(|_| Box::pin(async { None }));
        Self { index, name, events: Vec::new(), policy: None, answers }
    }

    /// The same with other answers.
    pub fn answering(self, answers: impl Fn(&Call) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let answers: Answers = Arc::new(move |call| {
            let answer = answers(&call);
            Box::pin(async move { answer })
        });
        Self { answers, ..self }
    }

    /// The same, but one method is never answered.
    pub fn hanging(self, method: &'static str) -> Self {
        let answers: Answers = Arc::new(move |call| {
            Box::pin(async move {
                if call.method == method {
                    std::future::pending::<()>().await;
                }
                None
            })
        });
        Self { answers, ..self }
    }

    /// The same with a subscription.
    pub fn wanting(self, events: &[Event]) -> Self {
        Self { events: events.to_vec(), ..self }
    }

    fn configure(&self) -> Vec<u8> {
        let events = self.events.iter().fold(0, |mask, event| mask | crate::plugin::bit(*event));
        let events = events.cast_signed();
        ConfigureResponse { events, failure_policy: self.policy }.encode_to_vec()
    }
}

/// A message as an answer.
pub fn answer(message: &impl Message) -> Answer {
    Ok(message.encode_to_vec())
}

/// An error as an answer.
pub fn refusal(code: i32, message: &str) -> Answer {
    Err(Status { code, message: message.to_owned() })
}

/// A plugin that is connected; it goes with this.
pub struct Plugin {
    link: Link,
    calls: Arc<Mutex<Vec<Call>>>,
    is_synchronized: watch::Receiver<bool>,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.link.end("the plugin goes");
    }
}

impl Plugin {
    /// Connects, and registers.
    ///
    /// # Errors
    /// Nobody listens, or it is refused.
    pub async fn connect(socket: &Path, manner: Manner) -> io::Result<Self> {
        Self::on(UnixStream::connect(socket).await?, manner).await
    }

    /// The same on a connection that is there.
    ///
    /// # Errors
    /// It is refused.
    pub async fn on(socket: UnixStream, manner: Manner) -> io::Result<Self> {
        let (link, incoming) = Link::new(socket, (RUNTIME, PLUGIN), (ttrpc::LIMIT, ROOM));
        let (calls, (told, is_synchronized)) = (Arc::default(), watch::channel(false));
        let register = RegisterPluginRequest {
            plugin_name: manner.name.clone(),
            plugin_idx: manner.index.clone(),
            nri_version: "v0.12.5".to_owned(),
        };
        tokio::spawn(serve(link.clone(), incoming, manner, (Arc::clone(&calls), told)));
        let plugin = Self { link, calls, is_synchronized };
        plugin.ask("RegisterPlugin", &register).await?;
        Ok(plugin)
    }

    async fn ask(&self, method: &str, request: &impl Message) -> io::Result<Vec<u8>> {
        let asked = self.link.call((SERVICE, method), request.encode_to_vec(), PATIENCE);
        asked.await.map_err(|error: CallError| io::Error::other(error.to_string()))
    }

    /// Connects, and waits until it has been told of everything that is there.
    ///
    /// # Errors
    /// Nobody listens, or it is refused.
    pub async fn join(socket: &Path, manner: Manner) -> io::Result<Self> {
        let plugin = Self::connect(socket, manner).await?;
        let mut told = plugin.is_synchronized.clone();
        let ended = plugin.link.ended();
        tokio::select! {
            _ = told.wait_for(|told| *told) => {}
            reason = ended => return Err(io::Error::other(reason)),
        }
        Ok(plugin)
    }

    /// Changes containers.
    ///
    /// # Errors
    /// It is refused.
    pub async fn update(&self, request: &UpdateContainersRequest) -> io::Result<UpdateContainersResponse> {
        let answer = self.ask("UpdateContainers", request).await?;
        UpdateContainersResponse::decode(answer.as_slice()).map_err(io::Error::other)
    }

    /// What it was asked so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The methods, and which container or else pod each is about.
    pub fn events(&self) -> Vec<(String, String)> {
        let about = |call: &Call| if call.container().is_empty() { call.pod() } else { call.container() };
        let is_event = |call: &&Call| !matches!(call.method.as_str(), "Configure" | "Synchronize");
        self.calls().iter().filter(is_event).map(|call| (call.method.clone(), about(call))).collect()
    }

    /// The pods and containers that it was told of when it joined.
    pub fn synchronized(&self) -> (Vec<String>, Vec<String>) {
        let (mut pods, mut containers) = (Vec::new(), Vec::new());
        for call in self.calls().iter().filter(|call| call.method == "Synchronize") {
            let told: SynchronizeRequest = call.argument();
            pods.extend(told.pods.into_iter().map(|pod| pod.id));
            containers.extend(told.containers.into_iter().map(|container| container.id));
        }
        (pods, containers)
    }

    /// Waits until the runtime has let it go.
    pub async fn ended(&self) -> String {
        self.link.ended().await
    }
}

type Record = (Arc<Mutex<Vec<Call>>>, watch::Sender<bool>);

async fn serve(link: Link, mut incoming: mpsc::Receiver<Incoming>, manner: Manner, (calls, told): Record) {
    while let Some(Incoming { stream, request, .. }) = incoming.recv().await {
        let call = Call { method: request.method, payload: request.payload };
        calls.lock().unwrap_or_else(PoisonError::into_inner).push(call.clone());
        let (link, manner, told) = (link.clone(), manner.clone(), told.clone());
        tokio::spawn(async move {
            let answer = (manner.answers)(call.clone()).await;
            let synchronize: Option<SynchronizeRequest> =
                (call.method == "Synchronize").then(|| call.argument());
            let usual = || match (&synchronize, call.method.as_str()) {
                (Some(asked), _) => {
                    SynchronizeResponse { update: Vec::new(), more: asked.more }.encode_to_vec()
                }
                (None, "Configure") => manner.configure(),
                _ => Vec::new(),
            };
            link.answer(stream, answer.unwrap_or_else(|| Ok(usual()))).await;
            if synchronize.is_some_and(|asked| !asked.more) {
                told.send_replace(true);
            }
        });
    }
}
