package harness

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
)

// RankOptions reads what a command tells its own ranks: its options, as the one argument, and from
// the environment the rank's number.
func RankOptions(args []string, o any) (rank int, err error) {
	if len(args) != 1 {
		return 0, errors.New("ranks are for bench itself to start")
	}
	if err := json.Unmarshal([]byte(args[0]), o); err != nil {
		return 0, err
	}
	return strconv.Atoi(os.Getenv("RANK"))
}
