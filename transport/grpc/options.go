package grpc

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errOption: an option of a server, or of a connection to it, keeps out what the mesh sends. It is
// the same each time.
var errOption = errors.New("an option of gRPC is in the way")

const noForcedCodec = "the server must not force a codec (grpc.ForceServerCodec, grpc.CustomCodec)"

// obstacles are the options that end streams, by what gRPC says of it.
var obstacles = []struct{ says, option string }{
	{"message larger than max", fmt.Sprintf("grpc.MaxRecvMsgSize and grpc.MaxSendMsgSize of the server must be at least %d", maxReceiveBytes)},
	{"failed to unmarshal the received message", noForcedCodec},
	{"error while marshaling", noForcedCodec},
	{"max_age", "the server must not have keepalive.ServerParameters.MaxConnectionAgeGrace, which ends the streams of the mesh"},
	{"too_many_pings", "the server's keepalive.EnforcementPolicy allows fewer pings than the connection sends"},
}

// explained adds to an error of gRPC which option causes it, if it is known to be one.
func explained(err error) error {
	if errors.Is(err, errOption) || status.Code(err) == codes.OK {
		return err
	}
	for _, o := range obstacles {
		if strings.Contains(err.Error(), o.says) {
			return fmt.Errorf("%s: %w: %w", o.option, errOption, err)
		}
	}
	return err
}

// stateOf is err as a handler returns it: the rank that dials tries again, unless an option is in
// the way.
func stateOf(err error) error {
	if errors.Is(err, errOption) {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return status.Error(codes.Aborted, err.Error())
}
