"""Draw one person: legs, trunk, arms and head in their clothes."""

import math

import numpy as np

from reidlib.data.synthetic.bags import add_bag
from reidlib.data.synthetic.camera import Camera
from reidlib.data.synthetic.canvas import Canvas, Point
from reidlib.data.synthetic.clothing import head_paint, skirt_paint, sleeve_paint, torso_paint, trouser_paint
from reidlib.data.synthetic.figure import (
    ARM,
    FACE,
    HAIR,
    HAND,
    SHIN,
    SHOE,
    SIDES,
    THIGH,
    TORSO,
    Figure,
    Leg,
    Placement,
    Pose,
    Seen,
    between,
)
from reidlib.data.synthetic.identity import Identity
from reidlib.data.synthetic.palette import rgb

LEG_GIRTH = {"slim": 0.88, "wide": 1.28, "trousers": 1.04}
BARE_THIGH = ("bare", "skirt", "longskirt")
BARE_SHIN = ("shorts", *BARE_THIGH)


def draw_person(
    canvas: Canvas, who: Identity, pose: Pose, place: Placement, camera: Camera, as_part: int | None = None
) -> dict[str, Point]:
    """Paint a person and return the key points in pixels; `as_part` marks all of them as that one part."""
    return _Person(canvas, who, pose, place, camera, as_part).draw()


class _Person(Figure):
    def draw(self) -> dict[str, Point]:
        for leg in self.legs:
            self._add_leg(leg)
        self._add_torso()
        for side in SIDES:
            self._add_arm(side)
        self._add_head()
        if self.pose.has_bag:
            add_bag(self)
        ground = self.project(0, 0, 0)
        shadow_x = ground.at[0] - 0.10 * ground.scale * self.canvas.light[0]
        depth = (0.035 + 0.10 * self.sin_pitch) * ground.scale
        self.canvas.shadow((shadow_x, ground.at[1] - 0.005 * ground.scale), 0.16 * ground.scale, depth, 0.42)
        self.paint()
        return self.keypoints

    # legs

    def _add_leg(self, leg: Leg) -> None:
        who, sign = self.who, SIDES[leg.side]
        sole = self.pelvis + leg.ankle[0] - who.leg_length * 0.022 - 0.011
        hip_x = sign * who.hip * 0.55 * (1 + 0.3 * (who.build - 1))
        hip = self.project(hip_x, self.pelvis, self.leaning(self.pelvis))
        knee = self.project(hip_x * 0.92, self.pelvis + leg.knee[0], leg.knee[1])
        ankle = self.project(hip_x * 0.85, self.pelvis + leg.ankle[0], leg.ankle[1])
        toe = self.project(hip_x, sole, leg.ankle[1] + 0.078).at
        heel = self.project(hip_x * 0.85, sole, leg.ankle[1] - 0.012).at
        self.keypoints |= {f"{leg.side}_hip": hip.at, f"{leg.side}_knee": knee.at, f"{leg.side}_ankle": ankle.at}
        # Garments hang over the legs, so legs come first whatever their depth.
        depth = (hip.depth * 0.4 + knee.depth + ankle.depth) / 2.4 - 1.0
        seam = -sign * self.cos_yaw * 0.9
        self.layers.append((depth, lambda: self._paint_leg(hip, knee, ankle, heel, toe, seam)))

    def _paint_leg(self, hip: Seen, knee: Seen, ankle: Seen, heel: Point, toe: Point, seam: float) -> None:
        who, canvas = self.who, self.canvas
        bare_thigh, bare_shin = who.lower in BARE_THIGH, who.lower in BARE_SHIN
        girth = LEG_GIRTH.get(who.lower, 0.98)
        cloth = 1.0 if bare_shin else girth
        knee_r = 0.036 * who.build * knee.scale
        ankle_r = (0.025 if bare_shin else 0.025 + 0.010 * girth**3) * ankle.scale
        shin_paint = self.skin if bare_shin else trouser_paint(who, 0.5, 0.5, seam)
        canvas.limb(knee.at, ankle.at, knee_r * cloth, ankle_r, shin_paint, self.part(SHIN))
        if bare_shin:  # the calf
            calf = self._lifted(between(knee.at, ankle.at, 0.32), -0.006)
            canvas.limb(
                calf, between(knee.at, ankle.at, 0.55), knee_r * 0.98, knee_r * 0.82, shin_paint, self.part(SHIN)
            )
        if who.lower_pattern == "cuff" and not bare_shin:
            cuff, cuff_r = between(knee.at, ankle.at, 0.88), 0.034 * girth * ankle.scale
            canvas.limb(cuff, ankle.at, cuff_r, cuff_r, rgb(who.lower_colour, 1.35) + np.float32(0.05), self.part(SHIN))
        thigh_r = 0.054 * who.build * hip.scale * (1 if bare_thigh else girth)
        hem_r = knee_r * (1.25 if who.lower == "shorts" else cloth)
        thigh_paint = self.skin if bare_thigh else trouser_paint(who, 0.0, 0.5, seam)
        canvas.limb(hip.at, knee.at, thigh_r, hem_r, thigh_paint, self.part(THIGH))
        shoe, sole = rgb(who.shoe_colour), rgb(who.sole_colour)
        if who.boots:
            shaft = between(knee.at, ankle.at, 0.65)
            canvas.limb(shaft, ankle.at, 0.036 * ankle.scale, 0.031 * ankle.scale, shoe, self.part(SHOE))
        forward = 1 if toe[0] >= heel[0] else -1
        side_view = abs(toe[0] - heel[0]) > abs(toe[1] - heel[1])

        def shoe_paint(along: np.ndarray, across: np.ndarray) -> np.ndarray:
            return np.where((across * forward > 0.45), sole, shoe)

        paint = shoe_paint if side_view else shoe
        canvas.limb(heel, toe, 0.0265 * ankle.scale, 0.021 * ankle.scale, paint, self.part(SHOE))

    def _lifted(self, point: Point, back: float) -> Point:
        """The point moved `back` (body units) along the walking direction, in the image."""
        return point[0] + back * self.sin_yaw * self.place.height_px, point[1]

    # torso

    def _add_torso(self) -> None:
        top = self.project(0, self.neck + 0.012, self.leaning(self.neck))
        pelvis = self.project(0, self.pelvis, 0)
        self.keypoints |= {"neck": top.at, "pelvis": pelvis.at}
        self.layers.append((0.0, lambda: self._paint_torso(top, pelvis)))

    def _girths(self) -> dict[str, float]:
        """Half-widths of the clothed trunk as seen, shares of the height."""
        who, loose = self.who, self.who.looseness
        waist = (0.072 if who.feminine else 0.084) * who.build * (1 + 0.12 * who.belly)
        return {
            "shoulders": self.outline(self.shoulder_x * 1.06, 0.062 * who.build) * loose,
            "chest": self.outline(self.shoulder_x * 0.97, (0.078 if who.feminine else 0.073) * who.build) * loose,
            "waist": self.outline(waist, (0.060 + 0.030 * who.belly) * who.build) * loose,
            "hips": self.outline(who.hip * who.build * 1.02, (0.076 if who.feminine else 0.068) * who.build) * loose,
        }

    def _paint_torso(self, top: Seen, pelvis: Seen) -> None:
        who, canvas, girth = self.who, self.canvas, self._girths()
        self._paint_hips(pelvis, girth)
        throat = self.project(0, self.neck + 0.03, self.leaning(self.neck) + 0.006)
        neck_r = 0.031 * throat.scale * math.sqrt(who.build)
        collarbone = (top.at[0], top.at[1] + 0.012 * top.scale)
        canvas.limb(throat.at, collarbone, neck_r, neck_r * 1.1, rgb(who.skin, 0.84), self.part(FACE))
        hem = self.pelvis - 0.035 - who.hem
        end = self.project(0, hem, 0)
        levels, widths = self._trunk_profile(girth, hem)
        canvas.lathe(top.at, end.at, levels, widths * top.scale, torso_paint(who), self.part(TORSO), yaw=self.place.yaw)
        self._paint_neckwear(top, girth)

    def _trunk_profile(self, girth: dict[str, float], hem: float) -> tuple[np.ndarray, np.ndarray]:
        """A smooth outline from neck to hem: stations (0..1) and half-widths."""
        who, neck = self.who, self.neck
        flare = {"dress": 1.25, "coat": 1.10}.get(who.upper, 1.0)
        long_cut = who.upper in ("coat", "dress")
        waist, bottom = girth["waist"], girth["hips"] * flare + (0.02 if long_cut else 0)
        if who.upper in ("hoodie", "jacket"):
            waist, bottom = max(waist, girth["hips"] * 0.97), girth["hips"] * 0.98
        waist_y = neck - (neck - self.pelvis) * 0.62
        heights = (
            neck + 0.012,
            neck - 0.002,
            neck - 0.016,
            neck - 0.036,
            neck - 0.085,
            waist_y,
            self.pelvis - 0.01,
            hem,
        )
        slope = max(0.058, girth["shoulders"] * 0.80)
        halves = (0.036, 0.052, slope, girth["shoulders"], girth["chest"], waist, girth["hips"], bottom)
        span = neck + 0.012 - hem
        stations = np.linspace(0, 1, 41)
        widths = np.interp(stations, [(neck + 0.012 - y) / span for y in heights], halves)
        return stations, np.convolve(np.pad(widths, 2, mode="edge"), (0.1, 0.25, 0.3, 0.25, 0.1), mode="valid")

    def _paint_hips(self, pelvis: Seen, girth: dict[str, float]) -> None:
        who, canvas, part, scale = self.who, self.canvas, self.part(THIGH), pelvis.scale
        start = (pelvis.at[0], pelvis.at[1] - 0.05 * scale)
        hips = girth["hips"] * scale
        if who.lower in ("skirt", "longskirt"):
            end = self.project(0, self.pelvis - (0.20 if who.lower == "skirt" else 0.38), 0).at
            swing = (1.22 if who.lower == "skirt" else 1.3) * (1 + 0.10 * abs(math.sin(self.pose.phase)))
            widths = [girth["waist"] * scale, hips * 1.08, hips * swing]
            canvas.lathe(start, end, [0, 0.4, 1], widths, skirt_paint(who), part, yaw=self.place.yaw)
        elif who.lower != "bare":
            end = (pelvis.at[0], pelvis.at[1] + 0.055 * scale)
            low = hips * 0.93 * min(1.1, LEG_GIRTH.get(who.lower, 0.98))
            canvas.lathe(start, end, [0, 1], [hips * 0.93, low], rgb(who.lower_colour), part)

    def _paint_neckwear(self, top: Seen, girth: dict[str, float]) -> None:
        who, canvas, part = self.who, self.canvas, self.part(TORSO)
        if who.belt and who.upper in ("dress", "coat", "shirt"):
            belt = self.project(0, self.pelvis + 0.05, 0)
            end, width = (belt.at[0], belt.at[1] + 0.022 * belt.scale), girth["waist"] * belt.scale * 1.03
            canvas.lathe(belt.at, end, [0, 1], [width, width], rgb(who.shoe_colour), part)
        if who.upper == "hoodie" or who.hat == "hood":
            hood = self.project(0, self.neck + 0.004, self.leaning(self.neck) - 0.030)
            canvas.ball(hood.at, 0.058 * hood.scale, 0.036 * hood.scale, rgb(who.upper_colour, 0.85), part)
        elif who.upper in ("polo", "shirt", "jacket", "coat"):
            collar = self.project(0, self.neck + 0.012, self.leaning(self.neck))
            colour = rgb(who.upper_colour, 0.88)
            canvas.ball(collar.at, 0.043 * collar.scale, 0.017 * collar.scale, colour, part)
        if who.scarf:
            scarf = self.project(0, self.neck + 0.016, self.leaning(self.neck))
            colour = rgb(who.scarf_colour)
            canvas.ball(scarf.at, 0.058 * scarf.scale, 0.030 * scarf.scale, colour, part)
            if self.cos_yaw > -0.2:
                knot = self.project(0.025, self.neck, 0.06).at
                tip = self.project(0.03, self.neck - 0.13, self.leaning(self.neck) + 0.07).at
                canvas.limb(knot, tip, 0.018 * scarf.scale, 0.022 * scarf.scale, colour, part)

    # arms

    def _add_arm(self, side: str) -> None:
        who, pose, sign = self.who, self.pose, SIDES[side]
        upper_arm, forearm = 0.165, 0.148
        ahead = -sign * math.sin(pose.phase)  # arms swing against the legs
        swing = who.arm_swing * pose.arm_swing * ahead * 0.9
        bend = 0.22 + 0.35 * max(0.0, ahead) + pose.elbow
        spread = 0.06 + 0.10 * (who.build - 1)
        if pose.phone == side:
            swing, bend = 0.45, 1.9
        if side == "left" and pose.has_bag and who.bag in ("handbag", "shoppingbag"):
            swing, bend, spread = 0.06 * ahead, 0.06, 0.10
        x, y, z = sign * self.shoulder_x * 0.87, self.neck - 0.038, self.leaning(self.neck)
        elbow_y, elbow_z = y - math.cos(swing) * upper_arm, z + math.sin(swing) * upper_arm
        wrist_y = elbow_y - math.cos(swing + bend) * forearm
        wrist_z = elbow_z + math.sin(swing + bend) * forearm
        shoulder = self.project(x, y, z)
        elbow = self.project(x + sign * (0.012 + spread * 0.30), elbow_y, elbow_z)
        wrist = self.project(x + sign * (0.014 + spread * 0.35), wrist_y, wrist_z)
        self.keypoints |= {f"{side}_shoulder": shoulder.at, f"{side}_elbow": elbow.at, f"{side}_wrist": wrist.at}
        depth = (shoulder.depth * 1.2 + elbow.depth + wrist.depth) / 3.2
        depth += 0.012 if self.cos_yaw > -0.3 else -0.004
        self.layers.append((depth, lambda: self._paint_arm(shoulder, elbow, wrist)))

    def _paint_arm(self, shoulder: Seen, elbow: Seen, wrist: Seen) -> None:
        who, canvas, part = self.who, self.canvas, self.part(ARM)
        long_sleeve = who.sleeve > 0.9
        loose = who.looseness if long_sleeve else 1.0
        shoulder_r = 0.029 * who.build * (1.0 if who.feminine else 1.10) * shoulder.scale * loose
        elbow_r = 0.026 * who.build * elbow.scale * loose
        wrist_r = (0.0185 * math.sqrt(who.build) + (0.005 if long_sleeve else 0)) * wrist.scale
        sleeve = sleeve_paint(who)
        canvas.limb(elbow.at, wrist.at, elbow_r, wrist_r, sleeve if long_sleeve else self.skin, part)
        knuckles = between(elbow.at, wrist.at, 1.16)
        canvas.limb(wrist.at, knuckles, 0.020 * wrist.scale, 0.018 * wrist.scale, self.skin, self.part(HAND))
        canvas.limb(shoulder.at, elbow.at, shoulder_r, elbow_r, sleeve if long_sleeve else self.skin, part)
        if 0 < who.sleeve <= 0.9:
            hem = between(shoulder.at, elbow.at, min(1.0, who.sleeve * 1.35))
            canvas.limb(shoulder.at, hem, shoulder_r * 1.02, shoulder_r * 1.10, sleeve, part)

    # head

    def _add_head(self) -> None:
        centre = self.project(0, self.neck + 0.095, self.leaning(self.neck) + 0.012 + self.pose.nod)
        self.keypoints["head"] = centre.at
        self.layers.append((max(centre.depth * 0.4, 0.02) + 0.02, lambda: self._paint_head(centre)))

    def _paint_head(self, centre: Seen) -> None:
        who, canvas, scale, part = self.who, self.canvas, centre.scale, self.part(HAIR)
        yaw = self.place.yaw + self.pose.head_turn
        facing, sideways = math.cos(yaw), math.sin(yaw)
        hair, hat, neck, z = rgb(who.hair_colour), rgb(who.hat_colour), self.neck, self.leaning(self.neck)
        wrapped = who.hat in ("hijab", "hood")
        loose_hair = who.hair in ("long", "bob") and not wrapped
        nape = self.project(0, neck + 0.07, z - 0.020).at
        tips = self.project(0, neck + (-0.065 if who.hair == "long" else 0.015), z - 0.042).at

        def strands(along: np.ndarray, across: np.ndarray) -> np.ndarray:
            return hair * (1 + 0.12 * np.sin(across * 9))

        if loose_hair and facing > 0.35:
            canvas.limb(nape, tips, 0.060 * scale, 0.050 * scale, hair, part)
        if who.hair == "afro" and who.hat == "none":
            canvas.ball((centre.at[0], centre.at[1] - 0.016 * scale), 0.080 * scale, 0.082 * scale, hair, part)
        if who.hat == "hijab":
            chest = self.project(0, neck - 0.008, z).at
            canvas.limb(centre.at, chest, 0.060 * scale, 0.070 * scale, hat, part)
        if who.hat == "hood":
            canvas.ball(centre.at, 0.068 * scale, 0.080 * scale, rgb(who.upper_colour), part)
        width = 0.056 * scale * self.outline(1, 1.14, yaw)
        canvas.ball(centre.at, width, 0.073 * scale, head_paint(who, yaw, self.pitch), self.part(FACE))
        if loose_hair and facing <= 0.35:
            canvas.limb((nape[0], nape[1] - 0.01 * scale), tips, 0.050 * scale, 0.046 * scale, strands, part)
        if who.hair == "ponytail" and not wrapped and facing < 0.75:
            band = self.project(0, neck + 0.115, z - 0.062).at
            tip = self.project(0.015 * math.sin(self.pose.phase), neck - 0.02, z - 0.095).at
            canvas.limb(band, tip, 0.020 * scale, 0.013 * scale, hair, part)
        if who.hair == "bun" and who.hat == "none":
            bun = self.project(0, neck + 0.155, z - 0.045).at
            canvas.ball(bun, 0.028 * scale, 0.027 * scale, hair, part)
        if who.hat == "cap" and facing > -0.25:
            brim_y = self.project(0, neck + 0.120, z + 0.06).at[1]
            thickness = 0.5 + 0.5 * abs(facing)
            inner = (centre.at[0] + 0.04 * sideways * scale, brim_y)
            outer = (centre.at[0] + 0.105 * sideways * scale, brim_y + 0.012 * scale)
            brim = 0.026 * scale * thickness
            canvas.limb(inner, outer, brim * 1.1, brim * 0.8, hat * 0.8, part)
        if who.hat == "beanie" and who.bobble:
            top = (centre.at[0], centre.at[1] - 0.074 * scale)
            canvas.ball(top, 0.016 * scale, 0.015 * scale, rgb(who.upper_accent), part)
