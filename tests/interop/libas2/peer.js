/* An AS2 server made of libas2 in one process, driven over HTTP, with the interface of ../peer.py.

peer.js FOLDER PORT CONFIG: CONFIG is JSON with `me`, `key` (PEM with the certificate behind it), `other`,
`other_certificate`, `target_url`, `mdn_url` and, where asynchronous MDNs go through an HTTP proxy, `proxy`.

    POST /as2                the AS2 server, for messages and MDNs
    POST /control/send       sends a message; the body is JSON: signature, encryption, mdn_mode, mdn_sign, text
    POST /control/mdns       sends the asynchronous MDNs that wait
    POST /control/mending    whether signed MDNs are mended, see `built`; the body is `true` or `false`
    GET  /control/messages   what became of every message
*/
'use strict'

const fs = require('fs')
const http = require('http')
const { AS2Composer, AS2Parser, isMdn, request } = require('libas2')

const [, , , port, configFile] = process.argv
const config = JSON.parse(fs.readFileSync(configFile, 'utf8'))
const [privateKey, certificate] = fs.readFileSync(config.key, 'utf8').split(/(?=-----BEGIN CERTIFICATE)/u)
const otherCertificate = fs.readFileSync(config.other_certificate, 'utf8')

/** By Message-ID; a message that is sent twice is one. */
const messages = new Map()
/** Asynchronous MDNs that wait: where to, and the MIME node. */
const waiting = []
let mending = true

/** What libas2 calls an agreement, for one message or MDN. */
function agreement ({ decrypt = false, verify = false, sign = 'sha-256', encrypt = false, hostMdn, partnerMdn }) {
  return {
    host: {
      name: config.me, id: config.me, url: config.mdn_url, certificate, privateKey, decrypt, sign, mdn: hostMdn
    },
    partner: {
      name: config.other,
      id: config.other,
      url: config.target_url,
      file: 'EDIFACT',
      certificate: otherCertificate,
      encrypt,
      verify,
      mdn: partnerMdn
    }
  }
}

/** Sends one message; its synchronous MDN decides, an asynchronous one is waited for. */
async function send ({ signature, encryption, mdn_mode: mdn, mdn_sign: mdnSign, text }) {
  const composer = new AS2Composer({
    message: { filename: 'order.edi', content: text, contentType: 'application/edifact' },
    agreement: agreement({
      sign: signature || false,
      encrypt: encryption || false,
      hostMdn: mdn ? { async: mdn === 'ASYNC', signing: mdnSign || false } : undefined
    }),
    additionalHeaders: { Subject: 'interop', Date: new Date().toUTCString() }
  })
  const options = await composer.toRequestOptions()
  // Without it libas2 sends chunks, which servers behind WSGI take for an empty body.
  options.headers['Content-Length'] = Buffer.byteLength(options.body)
  const record = {
    id: options.headers['Message-ID'],
    direction: 'OUT',
    status: 'P',
    detail: '',
    encrypted: Boolean(encryption),
    signed: Boolean(signature),
    compressed: false
  }
  messages.set(record.id, record)
  const response = await request(options)
  if (response.statusCode !== 200) {
    Object.assign(record, { status: 'E', detail: `HTTP status ${response.statusCode}` })
  } else if (mdn === 'SYNC') {
    await takeMdn(await parsed(response, response.rawBody), record)
  } else if (!mdn) {
    record.status = 'S'
  }
  return record
}

/** Judges an MDN as libas2 reads it. libas2 compares no MIC. */
async function takeMdn (node, record) {
  try {
    const mdn = await node.dispositionIn(node.signed ? { cert: otherCertificate } : undefined)
    record = record || messages.get(mdn.notification.originalMessageId)
    const { disposition } = mdn.notification
    // libas2 takes all that stands behind `processed/` for the type, unless an `=` ends it.
    const negative = !disposition.processed || ((disposition.description || {}).type || '').startsWith('error')
    Object.assign(record, { status: negative ? 'E' : 'S', detail: JSON.stringify(disposition) })
  } catch (error) {
    if (record) Object.assign(record, { status: 'E', detail: `MDN: ${error.message}` })
    else console.error(error)
  }
}

/** A request or response as a MIME node. As bytes: `headers` and `content` libas2 reads as UTF-8, which breaks
binary bodies. */
async function parsed ({ rawHeaders }, body) {
  let head = ''
  for (let i = 0; i < rawHeaders.length; i += 2) head += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`
  return await AS2Parser.parse(Buffer.concat([Buffer.from(`${head}\r\n`), body]))
}

/** Takes a message or an MDN; the response is a synchronous MDN where one is asked for. */
async function receive (incoming, body, outgoing) {
  const node = await parsed(incoming, body)
  const root = node.smimeType === 'enveloped-data'
    ? await node.decrypt({ cert: certificate, key: privateKey }).catch(() => node)
    : node
  if (isMdn(root)) {
    await takeMdn(root)
    outgoing.writeHead(204).end()
    return
  }
  const decrypt = node.encrypted
  const verify = root.signed
  const signing = /signed-receipt-micalg\s*=\s*\w+\s*,\s*([\w-]+)/u.exec(
    incoming.headers['disposition-notification-options'] || '')
  const { dispositionNode, disposition } = await node.dispositionOut({
    agreement: agreement({ decrypt, verify, partnerMdn: signing ? { async: false, signing: named(signing[1]) } : undefined })
  })
  const processed = disposition.notification.disposition.processed
  messages.set(node.messageId(), {
    id: node.messageId(),
    direction: 'IN',
    status: processed ? 'S' : 'E',
    detail: JSON.stringify(disposition.notification.disposition),
    encrypted: decrypt,
    signed: verify,
    compressed: false
  })
  const url = incoming.headers['receipt-delivery-option']
  if (url) waiting.push({ url, dispositionNode })
  if (url || !incoming.headers['disposition-notification-to']) {
    outgoing.writeHead(200, { 'Content-Length': 0 }).end()
    return
  }
  const mdn = await built(dispositionNode)
  outgoing.writeHead(200, { ...mdn.headers, 'Content-Length': Buffer.byteLength(mdn.body) }).end(mdn.body)
}

/** An MDN's header and body. libas2 signs a multipart without the line break behind its closing delimiter and
sends it with one, so that no signature of an MDN is valid, not even to libas2. Mended, it is sent as signed. */
async function built (node) {
  const { headers, body } = await node.buildObject()
  return { headers, body: mending && node.signed ? body.replace(/--\r\n\r\n(?=--)/u, '--\r\n') : body }
}

/** The name that libas2 knows of a digest. */
function named (digest) {
  return digest.toLowerCase().replace(/^sha-?/u, 'sha-')
}

/** Sends what waits. */
async function sendMdns () {
  const sent = []
  for (const { url, dispositionNode } of waiting.splice(0)) {
    const { headers, body } = await built(dispositionNode)
    const status = await post(url, headers, body)
    if (status < 300) sent.push(headers['Message-ID'])
  }
  return { sent }
}

/** POSTs, through the HTTP proxy where there is one. */
function post (url, headers, body) {
  const { hostname, port, pathname, host } = new URL(url)
  const proxy = config.proxy && new URL(config.proxy)
  const options = proxy
    ? { hostname: proxy.hostname, port: proxy.port, path: url }
    : { hostname, port, path: pathname }
  return new Promise((resolve, reject) => {
    const length = { Host: host, 'Content-Length': Buffer.byteLength(body) }
    const call = http.request({ ...options, method: 'POST', headers: { ...headers, ...length } }, response => {
      response.resume().on('end', () => resolve(response.statusCode))
    })
    call.on('error', reject).end(body)
  })
}

const routes = {
  '/control/send': async body => await send(JSON.parse(body)),
  '/control/mdns': sendMdns,
  '/control/mending': async body => { mending = JSON.parse(body); return { mending } },
  '/control/messages': async () => ({ messages: [...messages.values()] })
}

http.createServer((incoming, outgoing) => {
  const chunks = []
  incoming.on('data', chunk => chunks.push(chunk)).on('end', async () => {
    const body = Buffer.concat(chunks)
    try {
      const route = routes[incoming.url]
      if (!route) return await receive(incoming, body, outgoing)
      const json = JSON.stringify(await route(body))
      outgoing.writeHead(200, { 'Content-Type': 'application/json' }).end(json)
    } catch (error) {
      console.error(error)
      outgoing.writeHead(500, { 'Content-Type': 'text/plain' }).end(String(error.stack))
    }
  })
}).listen(Number(port), '127.0.0.1')
