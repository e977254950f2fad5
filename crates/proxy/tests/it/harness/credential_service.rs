//! Stand-in for the services that provide AWS credentials: the metadata service of instances (IMDSv2), the endpoint of
//! containers, STS, the portal of IAM Identity Center and its OIDC service. One listener is all of them.

use std::convert::Infallible;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bedrock_proxy::testing::Clock;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::{SECRET, spawn};

/// Session token of all keys that the service provides.
pub(crate) const SESSION_TOKEN: &str = "session-token-example";
/// Contents of the token files of containers and of web identities.
pub(crate) const FILE_TOKEN: &str = "projected-token-example";
/// Start URL of the portal.
pub(crate) const START_URL: &str = "https://example.awsapps.com/start";

const ROLE_ARN: &str = "arn:aws:iam::123456789012:role/gateway";
/// `sha1` of [`START_URL`], and of the session name `gateway`.
const CACHE_FILES: [&str; 2] =
    ["e8be5486177c5b5392bd9aa76563515b29358e6e.json", "8a6b3c5e6ba4da6ebfdf08b068ca74f7d99ed161.json"];
const XMLNS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Source of credentials of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The role of an instance, by the metadata service.
    Instance,
    /// The role of a container, by an URL and a token file.
    Container,
    /// A web identity, for a role at STS.
    WebIdentity,
    /// A profile with keys that assume a role at STS.
    AssumedRole,
    /// A profile of IAM Identity Center in the old form, with its URL.
    Sso,
    /// The same with a session, whose token can be renewed.
    SsoSession,
}

pub(crate) const SOURCES: [Source; 6] = [
    Source::Instance,
    Source::Container,
    Source::WebIdentity,
    Source::AssumedRole,
    Source::Sso,
    Source::SsoSession,
];

/// What the service does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Behavior {
    /// Provides keys that live so long.
    Valid(Duration),
    /// Provides keys that have expired.
    Expired,
    /// Provides keys with a secret that AWS does not know.
    Unknown,
    /// Reads the request and never responds.
    Silent,
    /// Responds with this status.
    Status(u16),
}

/// The service. It is controlled by a file in the home of the process, so that a fault needs no other handle.
#[derive(Clone, Debug)]
pub(crate) struct CredentialService {
    home: Arc<PathBuf>,
    pub(crate) url: String,
}

impl CredentialService {
    /// Starts the service, which fails every request until its behavior is set.
    pub(crate) fn start(home: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = Self { home: Arc::new(home.to_owned()), url };
        service.set(&Behavior::Status(503));
        let (running, listener) = (service.clone(), tokio::net::TcpListener::from_std(listener).unwrap());
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = running.clone();
                let respond = service_fn(move |request| {
                    let service = service.clone();
                    async move { Ok::<_, Infallible>(service.respond(request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                spawn(connection.serve_connection(TokioIo::new(stream), respond));
            }
        });
        service
    }

    /// The service that was started for this home.
    pub(crate) fn set_in(home: &Path, behavior: &Behavior) {
        let text = match behavior {
            Behavior::Valid(life) => format!("valid {}", life.as_secs()),
            Behavior::Expired => "expired".to_owned(),
            Behavior::Unknown => "unknown".to_owned(),
            Behavior::Silent => "silent".to_owned(),
            Behavior::Status(status) => format!("status {status}"),
        };
        let file = home.join("credential-service");
        std::fs::write(file.with_extension("new"), text).unwrap();
        std::fs::rename(file.with_extension("new"), file).unwrap();
    }

    pub(crate) fn set(&self, behavior: &Behavior) {
        Self::set_in(&self.home, behavior);
    }

    fn behavior(&self) -> Behavior {
        let text = std::fs::read_to_string(self.home.join("credential-service")).unwrap();
        let (name, number) = text.split_once(' ').unwrap_or((&text, "0"));
        match name {
            "valid" => Behavior::Valid(Duration::from_secs(number.parse().unwrap())),
            "expired" => Behavior::Expired,
            "unknown" => Behavior::Unknown,
            "silent" => Behavior::Silent,
            _ => Behavior::Status(number.parse().unwrap()),
        }
    }

    /// Paths of the requests for credentials so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.home.join("credential-calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let form = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let form = String::from_utf8_lossy(&form).into_owned();
        if form.contains("Action=GetCallerIdentity") {
            return respond(200, "text/xml", caller_identity());
        }
        self.record(head.uri.path());
        let (secret, expiration) = match self.behavior() {
            Behavior::Valid(life) => (SECRET, Clock::machine().now() + life),
            Behavior::Expired => (SECRET, SystemTime::UNIX_EPOCH + Duration::from_secs(1_577_836_800)),
            Behavior::Unknown => ("another-secret", Clock::machine().now() + Duration::from_secs(3600)),
            Behavior::Silent => std::future::pending().await,
            Behavior::Status(status) => return respond(status, "text/plain", "no".to_owned()),
        };
        let keys = Keys { secret, expiration };
        self.provide(&head, &form, &keys).unwrap_or_else(|| respond(404, "text/plain", String::new()))
    }

    fn record(&self, path: &str) {
        use std::io::Write;
        let file = self.home.join("credential-calls");
        let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
        file.write_all(format!("{path}\n").as_bytes()).unwrap();
    }

    fn provide(&self, head: &Parts, form: &str, keys: &Keys) -> Option<Response<Full<Bytes>>> {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let role = "/latest/meta-data/iam/security-credentials/";
        let json = |value: Value| Some(respond(200, "application/json", value.to_string()));
        match (&head.method, head.uri.path()) {
            (&Method::PUT, "/latest/api/token") => Some(respond(200, "text/plain", "token".to_owned())),
            (_, path) if path.starts_with(role) && header("x-aws-ec2-metadata-token") != Some("token") => {
                Some(respond(401, "text/plain", String::new()))
            }
            (_, path) if path == role => Some(respond(200, "text/plain", "gateway".to_owned())),
            (_, path) if path == format!("{role}gateway") => json(keys.document()),
            (_, "/container") if header("authorization") != Some(FILE_TOKEN) => {
                Some(respond(401, "text/plain", String::new()))
            }
            (_, "/container") => json(keys.document()),
            (&Method::POST, "/") => {
                let action = form.split('&').find_map(|pair| pair.strip_prefix("Action="))?;
                let is_web = action == "AssumeRoleWithWebIdentity";
                if is_web && !form.contains(&format!("WebIdentityToken={FILE_TOKEN}")) {
                    return Some(respond(400, "text/xml", invalid_identity_token()));
                }
                Some(respond(200, "text/xml", keys.assumed_role(action)))
            }
            (_, "/federation/credentials") if header("x-amz-sso_bearer_token") != Some("valid") => {
                let error = json!({"message": "Session token not found or invalid"});
                Some(respond(401, "application/json", error.to_string()))
            }
            (_, "/federation/credentials") => json(json!({"roleCredentials": {
                "accessKeyId": "AKIDEXAMPLE", "secretAccessKey": keys.secret, "sessionToken": SESSION_TOKEN,
                "expiration": keys.milliseconds(),
            }})),
            (&Method::POST, "/token") => {
                json(json!({"accessToken": "valid", "tokenType": "Bearer", "expiresIn": 3600}))
            }
            _ => None,
        }
    }
}

/// Keys that the service provides.
struct Keys {
    secret: &'static str,
    expiration: SystemTime,
}

impl Keys {
    fn milliseconds(&self) -> u64 {
        let since = self.expiration.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_millis()).unwrap()
    }

    fn date(&self) -> String {
        jiff::Timestamp::try_from(self.expiration).unwrap().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// The format of the services of instances and containers.
    fn document(&self) -> Value {
        json!({
            "Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC",
            "AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": self.secret, "Token": SESSION_TOKEN,
            "Expiration": self.date(),
        })
    }

    fn assumed_role(&self, action: &str) -> String {
        format!(
            "<{action}Response xmlns=\"{XMLNS}\"><{action}Result><Credentials>\
             <AccessKeyId>AKIDEXAMPLE</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
             <SessionToken>{SESSION_TOKEN}</SessionToken><Expiration>{}</Expiration></Credentials>\
             <AssumedRoleUser><Arn>{ROLE_ARN}</Arn><AssumedRoleId>AROAEXAMPLE:gateway</AssumedRoleId>\
             </AssumedRoleUser></{action}Result></{action}Response>",
            self.secret,
            self.date(),
        )
    }
}

fn caller_identity() -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"{XMLNS}\"><GetCallerIdentityResult><Arn>{ROLE_ARN}</Arn>\
         <UserId>AROAEXAMPLE:gateway</UserId><Account>123456789012</Account></GetCallerIdentityResult>\
         </GetCallerIdentityResponse>"
    )
}

fn invalid_identity_token() -> String {
    format!(
        "<ErrorResponse xmlns=\"{XMLNS}\"><Error><Type>Sender</Type><Code>ExpiredTokenException</Code>\
         <Message>Token expired</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )
}

fn respond(status: u16, kind: &str, body: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", kind)
        .header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}

impl Source {
    /// Writes the files of this source to `home`. Returns the variables of a process that uses it.
    pub(crate) fn prepare(self, home: &Path, service: &CredentialService) -> Vec<(&'static str, String)> {
        let write = |name: &str, text: &str| {
            let path = home.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let url = service.url.clone();
        let mut variables = vec![
            ("HOME", home.display().to_string()),
            ("AWS_CONFIG_FILE", home.join("config").display().to_string()),
            ("AWS_SHARED_CREDENTIALS_FILE", home.join("credentials").display().to_string()),
        ];
        let account = "sso_account_id = 123456789012\nsso_role_name = gateway\n";
        match self {
            Self::Instance => {
                variables.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", url));
                return variables;
            }
            Self::Container => {
                variables.push(("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{url}/container")));
                let file = write("container-token", FILE_TOKEN);
                variables.push(("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file));
            }
            Self::WebIdentity => {
                variables.push(("AWS_ENDPOINT_URL_STS", url));
                variables.push(("AWS_ROLE_ARN", ROLE_ARN.to_owned()));
                variables.push(("AWS_WEB_IDENTITY_TOKEN_FILE", write("web-identity-token", FILE_TOKEN)));
            }
            Self::AssumedRole => {
                variables.push(("AWS_ENDPOINT_URL_STS", url));
                write(
                    "config",
                    &format!(
                        "[default]\nrole_arn = {ROLE_ARN}\nsource_profile = base\n\n[profile base]\n\
                         aws_access_key_id = AKIDBASE\naws_secret_access_key = base-secret\n"
                    ),
                );
            }
            Self::Sso => {
                variables.push(("AWS_ENDPOINT_URL_SSO", url));
                let text =
                    format!("[default]\nsso_start_url = {START_URL}\nsso_region = us-east-1\n{account}");
                write("config", &text);
                write_sso_token(home, "valid", Duration::from_secs(36_000));
            }
            Self::SsoSession => {
                variables.push(("AWS_ENDPOINT_URL_SSO", url.clone()));
                variables.push(("AWS_ENDPOINT_URL_SSO_OIDC", url));
                let session = format!(
                    "[sso-session gateway]\nsso_start_url = {START_URL}\nsso_region = us-east-1\n\
                     sso_registration_scopes = sso:account:access\n"
                );
                write("config", &format!("[default]\nsso_session = gateway\n{account}\n{session}"));
                write_sso_token(home, "valid", Duration::from_secs(36_000));
            }
        }
        variables.push(("AWS_EC2_METADATA_DISABLED", "true".to_owned()));
        variables
    }
}

/// Writes what `aws sso login` writes: a token that lives so long, for both forms of profiles.
pub(crate) fn write_sso_token(home: &Path, token: &str, life: Duration) {
    let folder = home.join(".aws/sso/cache");
    std::fs::create_dir_all(&folder).unwrap();
    let end = jiff::Timestamp::try_from(Clock::machine().now() + life).unwrap();
    let text = json!({
        "accessToken": token, "expiresAt": end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "region": "us-east-1", "startUrl": START_URL, "clientId": "client", "clientSecret": "secret",
        "registrationExpiresAt": "2099-01-01T00:00:00Z", "refreshToken": "refresh",
    });
    for name in CACHE_FILES {
        std::fs::write(folder.join(name), text.to_string()).unwrap();
    }
}

/// Removes what `aws sso login` has written.
pub(crate) fn remove_sso_token(home: &Path) {
    for name in CACHE_FILES {
        std::fs::remove_file(home.join(".aws/sso/cache").join(name)).unwrap();
    }
}
