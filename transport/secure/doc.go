// Package secure authenticates the connections between the ranks of a job, by certificates or by a
// shared secret.
//
// # TLS
//
// TLS 1.3, both ways: each side shows a certificate of the job's authority and checks the other's.
// A certificate states who may use it in a URI among its subject alternative names,
//
//	switchyard://<job>/rank/<n>
//
// and either side refuses a peer that claims to be another rank, or of another job. Data can
// neither be read nor changed on the way. Host names are not checked, so that ranks may move
// between machines. Files are read again for every handshake: after a rotation new connections use
// the new certificate, and old ones go on.
//
// Go's TLS does not renew the keys of a connection. RFC 8446 (5.5) advises to send no more than
// 2^24.5 full records under one AES-GCM key, about 390 GB a direction; a job that moves more
// between two ranks has less margin than that.
//
// # Shared secret
//
// Both sides prove, over fresh random numbers, that they know a secret; neither sends it, and no
// answer can be replayed, or reflected to its sender. The proof covers job, ranks and session. It
// covers the opening of a connection and nothing after that: an attacker who can change packets
// between two ranks can wait for the proof and then impersonate a rank, and one who can see packets
// can read them. The secret keeps out all others: other users, other jobs, port scanners. All ranks
// hold one secret, so it proves that a rank belongs to the job, not which rank it is.
//
// # Pending connections
//
// Until a connection has identified itself, its cost is bounded: messages of fixed size, two
// seconds, one of 64 slots. [Serve] applies these limits to a listener.
package secure
