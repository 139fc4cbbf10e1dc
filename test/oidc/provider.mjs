// An OpenID provider to log in at and to get tokens from. With a port it is one to try
// things with, at that port of 127.0.0.1, until Ctrl-C:
//
//	node provider.mjs --port 9100
//
// Without one it is the provider of the tests: it takes a free port, its clients are sent to
// http://localhost:8080, where there is no server, and the first line of its input is the
// address of the gateway that takes the place of it. It ends with its input.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { Provider } from 'oidc-provider';

const outside = 'http://localhost:8080';
const { values } = parseArgs({ options: { port: { type: 'string', default: '0' } } });
const port = Number(values.port);
let gateway = outside;
if (!port) {
  const lines = createInterface({ input: process.stdin });
  lines.once('line', (line) => { gateway = line; });
  lines.once('close', () => process.exit(0));
}

const login = {
  client_id: 'shop', client_secret: 'hush', grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
  redirect_uris: [`${outside}/oauth2/callback`], post_logout_redirect_uris: [`${outside}/bye`],
  backchannel_logout_uri: `${outside}/oauth2/backchannel`, backchannel_logout_session_required: true,
};
// Programs get tokens for the API `orders`, and nothing else.
const program = (id, scope) => ({
  client_id: id, client_secret: `${id}-secret`, grant_types: ['client_credentials'], redirect_uris: [], response_types: [], scope,
});
const api = { scope: 'orders.read labels.print', audience: 'orders', accessTokenTTL: 600, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } };

const server = createServer();
server.listen(port, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [login, program('partner', 'orders.read'), program('guest', 'orders.read'), program('printer', 'labels.print')],
    claims: { openid: ['sub'], email: ['email'] },
    conformIdTokenClaims: false,
    cookies: { keys: ['for a test'] },
    extraTokenClaims: (_, token) => (token.aud === 'orders' ? { tier: token.clientId === 'partner' ? 'gold' : 'basic' } : undefined),
    features: {
      backchannelLogout: { enabled: true }, clientCredentials: { enabled: true }, devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (ctx) => (ctx.oidc.client.grantTypeAllowed('client_credentials') ? 'urn:orders' : undefined),
        getResourceServerInfo: () => api,
      },
    },
    fetch: (url, { method, headers, body, signal }) => fetch(String(url).replace(outside, gateway), { method, headers, body, signal }),
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.com` }) }),
    issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
    pkce: { required: () => true },
    scopes: ['openid', 'offline_access', 'orders.read', 'labels.print'],
  });
  provider.on('backchannel.error', (_, error) => console.log(`back channel: ${error}, ${error.cause}`));
  provider.on('backchannel.success', () => console.log('back channel: told'));
  server.on('request', provider.callback());
  console.log(`ready ${issuer}`);
  if (port) console.log('programs: partner, guest, printer, each with the secret NAME-secret; people log in by the client shop (hush); Ctrl-C ends it');
});
