//! The control plane: which foundation models and inference profiles there are.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock.html>

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::endpoint::encode_segment;
use super::exchange::Exchange;
use super::passthrough::Passed;
use super::{Attempts, Bedrock, Failure, failure};

/// Some hundreds of models of some hundred bytes each, and room for more.
const LONGEST_LIST: usize = 8 << 20;
/// A list that does not end is not followed for ever.
const MOST_PAGES: usize = 20;

/// A foundation model of the region.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FoundationModel {
    /// Its id, without a profile prefix.
    pub model_id: String,
    /// What people call it.
    pub model_name: Option<String>,
    /// `TEXT`, `IMAGE`, `EMBEDDING` …
    pub output_modalities: Vec<String>,
    /// `ON_DEMAND`, `PROVISIONED`, `INFERENCE_PROFILE`.
    pub inference_types_supported: Vec<String>,
    /// Where it is in its life.
    pub model_lifecycle: Lifecycle,
}

/// Where a model is in its life.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lifecycle {
    /// `ACTIVE` or `LEGACY`.
    pub status: Option<String>,
    /// Since when it can be called, RFC 3339.
    pub start_of_life_time: Option<String>,
    /// Until when, RFC 3339.
    pub end_of_life_time: Option<String>,
}

/// An inference profile of AWS or of the account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InferenceProfile {
    /// `us.anthropic.…`, or the account's own.
    pub inference_profile_id: String,
    /// The models it leads to, one for each region.
    pub models: Vec<ProfileModel>,
}

/// A model behind an inference profile.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProfileModel {
    /// `arn:aws:bedrock:us-east-1::foundation-model/…`
    pub model_arn: String,
}

impl InferenceProfile {
    /// The ARNs of the models it leads to.
    pub fn arns(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|model| model.model_arn.as_str())
    }
}

impl Bedrock {
    /// ListFoundationModels: all of the region.
    ///
    /// # Errors
    /// When AWS refuses, or the answer cannot be had or read.
    pub async fn foundation_models(&self) -> Result<Vec<FoundationModel>, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct List {
            model_summaries: Vec<FoundationModel>,
        }
        self.list::<List>("/foundation-models", "").await.map(|list| list.model_summaries)
    }

    /// ListInferenceProfiles: all of AWS's own in the region.
    ///
    /// # Errors
    /// When AWS refuses, or an answer cannot be had or read.
    pub async fn inference_profiles(&self) -> Result<Vec<InferenceProfile>, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            inference_profile_summaries: Vec<InferenceProfile>,
            next_token: Option<String>,
        }
        let (mut all, mut token) = (Vec::new(), String::new());
        for _ in 0..MOST_PAGES {
            let mut path = "/inference-profiles?maxResults=1000&type=SYSTEM_DEFINED".to_owned();
            if !token.is_empty() {
                path.push_str("&nextToken=");
                encode_segment(&token, &mut path);
            }
            let page: Page = self.list(&path, "").await?;
            all.extend(page.inference_profile_summaries);
            match page.next_token {
                Some(next) if !next.is_empty() && next != token => token = next,
                _ => break,
            }
        }
        Ok(all)
    }

    /// GetInferenceProfile, in the region that an ARN names.
    ///
    /// # Errors
    /// When AWS refuses, or the answer cannot be had or read.
    pub async fn inference_profile(&self, id: &str) -> Result<InferenceProfile, Failure> {
        self.list(&profile_path(id), id).await
    }

    /// `GET /inference-profiles` with the client's own query, not looked into.
    ///
    /// # Errors
    /// When AWS refuses, or there is no answer.
    pub async fn pass_profiles(&self, query: Option<&str>) -> Result<Passed, Failure> {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        self.get(&format!("/inference-profiles{query}"), "").await
    }

    /// `GET /inference-profiles/{id}`, not looked into.
    ///
    /// # Errors
    /// When AWS refuses, or there is no answer.
    pub async fn pass_profile(&self, id: &str) -> Result<Passed, Failure> {
        self.get(&profile_path(id), id).await
    }

    async fn get(&self, path: &str, id: &str) -> Result<Passed, Failure> {
        let place = self.control_place(id);
        let no_client = || Failure::unsendable("there are no root certificates for the control plane");
        let exchange = Exchange {
            place: &place,
            client: self.places.control_client.as_ref().ok_or_else(no_client)?,
            method: Method::GET,
            uri: place.endpoint.url(path).map_err(Failure::unsendable)?,
            headers: &HeaderMap::new(),
            body: Bytes::new(),
        };
        self.exchange(&exchange, &mut Attempts::default()).await.map(Passed::from)
    }

    async fn list<T: DeserializeOwned>(&self, path: &str, id: &str) -> Result<T, Failure> {
        let answer = self.get(path, id).await?;
        let bytes = failure::read(answer.body, LONGEST_LIST).await.unwrap_or_default();
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::unreadable(self.control_place(id).endpoint.host(), &error))
    }
}

fn profile_path(id: &str) -> String {
    let mut path = "/inference-profiles/".to_owned();
    encode_segment(id, &mut path);
    path
}
