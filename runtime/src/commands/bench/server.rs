//! A server of the Open Inference Protocol: what it serves, and the request that it is measured by.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, StatusCode, Uri, header};
use clap::ValueEnum;
use half::{bf16, f16};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::pixels;

/// What says how much of a body is JSON.
const HEADER_LENGTH: &str = "inference-header-content-length";
/// The largest answer that is read, in bytes.
const MOST: usize = 64 << 20;

/// How tensors travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tensors {
    /// After the JSON, as bytes.
    Binary,
    /// In the JSON, as numbers.
    Json,
}

/// Where a server is, and what lets one in.
#[derive(Debug)]
pub(super) struct Server {
    authority: String,
    address: (String, u16),
    token: Option<String>,
}

/// A model of a server.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) model: String,
    pub(super) tensors: Tensors,
    pub(super) input: Input,
}

/// A model's input as the server describes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Input {
    name: String,
    pub(super) datatype: String,
    pub(super) shape: Vec<i64>,
}

#[derive(Deserialize)]
struct Metadata {
    inputs: Vec<Input>,
}

/// A request that is sent again and again.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    path: String,
    body: Bytes,
    /// Bytes of the body that are JSON, where not all are.
    head: Option<usize>,
}

/// A connection to a server.
pub(super) type Connection = SendRequest<Body>;

impl Server {
    /// The server at `url`, whose token is in `token_file`.
    pub(super) fn new(url: &str, token_file: Option<&Path>) -> anyhow::Result<Self> {
        let uri: Option<Uri> = url.parse().ok();
        let is_plain =
            |uri: &Uri| uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/");
        let authority = uri.filter(is_plain).and_then(|uri| uri.authority().cloned());
        let Some(authority) = authority else {
            bail!("`{url}` cannot be measured, expected `http://HOST:PORT`");
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let address = (host, authority.port_u16().unwrap_or(80));
        let token = token_file.map(|path| {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            let line = text.lines().map(str::trim).find(|line| !line.is_empty());
            let line = line.with_context(|| format!("`{}` holds no token", path.display()))?;
            Ok::<_, anyhow::Error>(line.to_owned())
        });
        Ok(Self { authority: authority.to_string(), address, token: token.transpose()? })
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> anyhow::Result<Connection> {
        let (host, port) = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port))
            .await
            .with_context(|| format!("cannot connect to `{}`", self.authority))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // What breaks here is told to whoever sends.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Sends a request and reads the answer to its end.
    pub(super) async fn ask(
        &self,
        connection: &mut Connection,
        asked: &Asked,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        self.send(connection, Method::POST, asked).await
    }

    async fn send(
        &self,
        connection: &mut Connection,
        method: Method,
        asked: &Asked,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .uri(&asked.path)
            .header(header::HOST, &self.authority);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let kind = match asked.head {
            Some(length) => {
                request = request.header(HEADER_LENGTH, length);
                "application/octet-stream"
            }
            None => "application/json",
        };
        let request = request.header(header::CONTENT_TYPE, kind);
        let request = request.body(Body::from(asked.body.clone()))?;
        let (head, body) = connection.send_request(request).await?.into_parts();
        Ok((head.status, to_bytes(Body::new(body), MOST).await?))
    }

    /// The answer to a question about the server.
    async fn look<T: for<'de> Deserialize<'de>>(
        &self,
        method: Method,
        path: &str,
    ) -> anyhow::Result<T> {
        let mut connection = self.connect().await?;
        let body = if method == Method::POST { "{}" } else { "" };
        let asked = Asked { path: path.to_owned(), body: body.into(), head: None };
        let (status, body) = self.send(&mut connection, method, &asked).await?;
        let text = String::from_utf8_lossy(&body);
        ensure!(status.is_success(), "`{}{path}` answers {status}: {text}", self.authority);
        serde_json::from_str(&text)
            .with_context(|| format!("`{}{path}` is not what the protocol says", self.authority))
    }

    /// The model `name`, the only one where no name is given.
    pub(super) async fn subject(
        &self,
        name: Option<&str>,
        tensors: Option<Tensors>,
    ) -> anyhow::Result<Subject> {
        let model = match name {
            Some(name) => name.to_owned(),
            None => self.only().await?,
        };
        let metadata: Metadata = self.look(Method::GET, &format!("/v2/models/{model}")).await?;
        let [input] = &metadata.inputs[..] else {
            bail!("model `{model}` has {} inputs, expected one", metadata.inputs.len());
        };
        let fixed = input.shape.iter().skip(1).all(|dim| *dim > 0) && input.shape.len() > 1;
        ensure!(fixed, "model `{model}` takes shape {:?}, expected fixed sizes", input.shape);
        let tensors = match tensors {
            Some(tensors) => tensors,
            None if self.has_binary().await? => Tensors::Binary,
            None => Tensors::Json,
        };
        Ok(Subject { model, tensors, input: input.clone() })
    }

    async fn only(&self) -> anyhow::Result<String> {
        let index: Vec<Value> = self.look(Method::POST, "/v2/repository/index").await?;
        let mut names: Vec<&str> = index.iter().filter_map(|line| line["name"].as_str()).collect();
        names.dedup();
        match names[..] {
            [name] => Ok(name.to_owned()),
            _ => bail!("the server has {} models, expected `--model NAME`", names.len()),
        }
    }

    async fn has_binary(&self) -> anyhow::Result<bool> {
        let server: Value = self.look(Method::GET, "/v2").await?;
        let extensions = server["extensions"].as_array();
        Ok(extensions.is_some_and(|all| all.contains(&"binary_tensor_data".into())))
    }
}

impl Subject {
    /// A request for `n` random images.
    pub(super) fn asked(&self, n: usize) -> anyhow::Result<Asked> {
        let Input { name, datatype, shape } = &self.input;
        let image: i64 = shape[1..].iter().product();
        let pixels = pixels(usize::try_from(image)?, n);
        let shape = [&[n as i64], &shape[1..]].concat();
        let mut input = json!({ "name": name, "datatype": datatype, "shape": shape });
        let path = format!("/v2/models/{}/infer", self.model);
        if self.tensors == Tensors::Json {
            input["data"] = match datatype.as_str() {
                "UINT8" => pixels.iter().map(|value| (value * 255.0) as u8).collect(),
                _ => pixels.into(),
            };
            let body = json!({ "inputs": [input] }).to_string().into();
            return Ok(Asked { path, body, head: None });
        }
        let tensor = bytes(datatype, &pixels)?;
        input["parameters"] = json!({ "binary_data_size": tensor.len() });
        let head = json!({ "inputs": [input], "parameters": { "binary_data_output": true } });
        let head = head.to_string();
        let body = [head.as_bytes(), &tensor].concat().into();
        Ok(Asked { path, body, head: Some(head.len()) })
    }
}

/// Pixels as numbers of `datatype`, little-endian.
fn bytes(datatype: &str, pixels: &[f32]) -> anyhow::Result<Vec<u8>> {
    let pixels = pixels.iter();
    Ok(match datatype {
        "FP32" => pixels.flat_map(|value| value.to_le_bytes()).collect(),
        "FP64" => pixels.flat_map(|value| f64::from(*value).to_le_bytes()).collect(),
        "FP16" => pixels.flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        "BF16" => pixels.flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        "UINT8" => pixels.map(|value| (value * 255.0) as u8).collect(),
        other => bail!("datatype `{other}` holds no images, expected `FP32`, `FP16` or `UINT8`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_or_refused() {
        let server = Server::new("http://[::1]:80/", None).unwrap();
        assert_eq!(server.address, ("::1".to_owned(), 80));
        let server = Server::new("http://localhost", None).unwrap();
        assert_eq!(server.address, ("localhost".to_owned(), 80));
        for url in ["localhost:8080", "https://localhost", "http://localhost/v2", ""] {
            let message = Server::new(url, None).unwrap_err().to_string();
            assert!(message.contains("`http://HOST:PORT`"), "{message}");
        }
    }

    #[test]
    fn a_request_holds_as_many_bytes_as_its_shape_says() {
        for (datatype, size) in [("FP32", 4), ("FP64", 8), ("FP16", 2), ("BF16", 2), ("UINT8", 1)] {
            let input = Input {
                name: "image".to_owned(),
                datatype: datatype.to_owned(),
                shape: vec![-1, 3, 2, 2],
            };
            let model = "m".to_owned();
            let subject = Subject { model, tensors: Tensors::Binary, input };
            let asked = subject.asked(5).unwrap();
            assert_eq!(asked.body.len() - asked.head.unwrap(), 5 * 12 * size);
        }
    }
}
