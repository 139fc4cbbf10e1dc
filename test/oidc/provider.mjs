// An OpenID provider for one client at http://localhost:8080, where there is no server: the
// test leads requests there to the gateway, whose address is the first line of the input.
// The provider ends with its input.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { Provider } from 'oidc-provider';

const outside = 'http://localhost:8080';
let gateway;
const lines = createInterface({ input: process.stdin });
lines.once('line', (line) => { gateway = line; });
lines.once('close', () => process.exit(0));

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'shop', client_secret: 'hush', grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
      redirect_uris: [`${outside}/oauth2/callback`], post_logout_redirect_uris: [`${outside}/bye`],
      backchannel_logout_uri: `${outside}/oauth2/backchannel`, backchannel_logout_session_required: true,
    }],
    claims: { openid: ['sub'], email: ['email'] },
    conformIdTokenClaims: false,
    cookies: { keys: ['for a test'] },
    features: { backchannelLogout: { enabled: true }, devInteractions: { enabled: true } },
    fetch: (url, { method, headers, body, signal }) => fetch(String(url).replace(outside, gateway), { method, headers, body, signal }),
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.com` }) }),
    issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
    pkce: { required: () => true },
  });
  provider.on('backchannel.error', (_, error) => console.log(`back channel: ${error}, ${error.cause}`));
  provider.on('backchannel.success', () => console.log('back channel: told'));
  server.on('request', provider.callback());
  console.log(`ready ${issuer}`);
});
